//! The signing key: one for all replicas, kept over restarts, sealed.

use std::time::Duration;

use quire_auth::operator::{Operator, OperatorConfig};
use quire_auth::{KeyError, StartError};
use quire_proto::auth::v1 as pb;
use quire_serve::settings::Settings;
use quire_testkit::{Backend, on_both_databases};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Auth, Place, SECRET, reason, seconds};

on_both_databases!(
    a_restart_keeps_the_key_and_the_sessions,
    replicas_that_start_together_share_one_key,
    another_master_secret_is_a_clear_error_at_start,
    a_key_lives_from_standby_to_revoked,
    a_revoked_key_ends_its_tokens_at_once,
    a_secret_of_its_own_seals_the_keys_from_before_anew,
    two_rotations_at_once_publish_one_key,
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
    assert!(source.contains("another secret"), "{source}");
}

async fn operator(place: &Place) -> Operator {
    let config = OperatorConfig::read(&mut Settings::default(), &place.common(false, SECRET));
    Operator::open(&config, place.world()).await.unwrap()
}

/// The `kid` of a token.
fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// Waits until auth has noticed what an operator did.
async fn until(auth: &Auth, noticed: impl Fn(&[pb::SigningKey]) -> bool) {
    let mut stream = auth.watch(0).await;
    while !noticed(&auth.keys().await) {
        stream.message().await.unwrap().unwrap();
    }
}

async fn a_key_lives_from_standby_to_revoked(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.keys().await;
    let operator = operator(&place).await;
    let old = auth.sign_in("ada@example.org").await;
    let rotated = operator.rotate(Duration::from_secs(600)).await.unwrap();
    assert_eq!(operator.rotate(Duration::from_secs(600)).await.unwrap(), rotated, "one key waits at a time");
    until(&auth, |keys| keys.len() == 2).await;
    let waiting = auth.sign_in("ada@example.org").await;
    assert_eq!(kid(&waiting.access_token), kid(&old.access_token), "it is published and signs nothing");

    place.clock.advance(seconds(600));
    until(&auth, |keys| {
        keys.iter().any(|key| key.kid == rotated.kid && key.state() == pb::SigningKeyState::Active)
    })
    .await;
    let new = auth.sign_in("ada@example.org").await;
    assert_eq!(kid(&new.access_token), rotated.kid);
    assert!(auth.me(&old.access_token).await.is_ok(), "what the old key signed is good");
    let next = auth.refresh(&old.refresh_token).await.unwrap();
    assert_eq!(kid(&next.refresh_token), rotated.kid);

    // The last refresh token of the old key has ended by then.
    place.clock.advance(seconds(30 * 86_400));
    until(&auth, |keys| keys.len() == 1).await;
    let mut states: Vec<String> = operator.keys().await.unwrap().into_iter().map(|key| key.state).collect();
    states.sort();
    assert_eq!(states, ["active", "revoked"]);
    assert_eq!(place.number("SELECT count(*) FROM signing_keys WHERE sealed_private_key = ''").await, 1);
    operator.close().await.unwrap();
    auth.stop().await;
}

async fn a_revoked_key_ends_its_tokens_at_once(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.keys().await;
    let operator = operator(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let leaked = kid(&pair.access_token);
    assert_eq!(operator.revoke(&leaked).await.unwrap().state, "revoked");
    assert!(operator.revoke("unknown").await.is_err());
    until(&auth, |keys| keys.iter().all(|key| key.kid != leaked)).await;
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "REFRESH_TOKEN_INVALID");
    let new = auth.sign_in("ada@example.org").await;
    assert_ne!(kid(&new.access_token), leaked);
    assert!(auth.me(&new.access_token).await.is_ok());
    operator.close().await.unwrap();
    auth.stop().await;
    let auth = Auth::start(&place).await;
    assert_eq!(reason(auth.me(&pair.access_token).await), "TOKEN_INVALID");
    auth.stop().await;
}

async fn a_secret_of_its_own_seals_the_keys_from_before_anew(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    auth.stop().await;
    let own = [("QUIRE_KEY_SECRET", "a secret of auth alone that is long enough")];
    let auth = Auth::start_with(&place, &own).await;
    assert!(auth.me(&pair.access_token).await.is_ok());
    auth.stop().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = place.config(true, SECRET, &[]);
    let outcome = quire_auth::serve(config, place.world(), listener, CancellationToken::new()).await;
    assert!(matches!(outcome, Err(StartError::Keys(KeyError::Sealed))), "the master secret opens it no more");
    let auth = Auth::start_with(&place, &own).await;
    assert!(auth.refresh(&pair.refresh_token).await.is_ok());
    auth.stop().await;
}

async fn two_rotations_at_once_publish_one_key(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.keys().await;
    let operators = futures::future::join_all((0..4).map(|_| operator(&place))).await;
    let rotated = operators.iter().map(|operator| operator.rotate(Duration::from_secs(600)));
    let rotated = futures::future::join_all(rotated).await;
    let first = rotated[0].as_ref().unwrap();
    assert!(rotated.iter().all(|outcome| outcome.as_ref().unwrap() == first), "{rotated:?}");
    assert_eq!(operators[0].keys().await.unwrap().len(), 2);
    for operator in operators {
        operator.close().await.unwrap();
    }
    auth.stop().await;
}
