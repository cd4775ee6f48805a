//! The signing key: one for all replicas, kept over restarts, sealed.

use quire_auth::{KeyError, StartError};
use quire_testkit::{Backend, on_both_databases};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Auth, Place};

on_both_databases!(
    a_restart_keeps_the_key_and_the_sessions,
    replicas_that_start_together_share_one_key,
    another_master_secret_is_a_clear_error_at_start,
);

async fn a_restart_keeps_the_key_and_the_sessions(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let keys = auth.keys().await;
    assert_eq!((keys.len(), keys[0].public_key.len()), (1, 32));
    auth.stop().await;
    let auth = Auth::start(&place).await;
    assert_eq!(auth.keys().await, keys);
    assert!(auth.me(&pair.access_token).await.is_ok());
    assert!(auth.refresh(&pair.refresh_token).await.is_ok());
    auth.stop().await;
}

async fn replicas_that_start_together_share_one_key(backend: Backend) {
    let place = Place::new(backend).await;
    // Somebody migrated before: only the key is raced for.
    place.database().await.migrate::<quire_migrations::AuthMigrator>().await.unwrap();
    let replicas = futures::future::join_all((0..4).map(|_| Auth::start(&place))).await;
    let keys = futures::future::join_all(replicas.iter().map(Auth::keys)).await;
    assert!(keys.iter().all(|set| set.len() == 1 && *set == keys[0]), "{keys:?}");
    let pair = replicas[0].sign_in("ada@example.org").await;
    assert!(replicas[1].me(&pair.access_token).await.is_ok());
    assert!(replicas[2].refresh(&pair.refresh_token).await.is_ok());
    for replica in replicas {
        replica.stop().await;
    }
}

async fn another_master_secret_is_a_clear_error_at_start(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.keys().await;
    auth.stop().await;
    let config = place.config(true, "quite another secret of 32 characters", &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outcome = quire_auth::serve(config, place.world(), listener, CancellationToken::new()).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, StartError::Keys(KeyError::Sealed)), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("another master secret"), "{source}");
}
