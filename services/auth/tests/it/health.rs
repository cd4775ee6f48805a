//! NOT_SERVING until the tables are there.

use quire_migrations::AuthMigrator;
use quire_testkit::{Backend, on_both_databases};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Auth, Place, SECRET};

on_both_databases!(auth_serves_only_once_its_database_is_migrated);

async fn auth_serves_only_once_its_database_is_migrated(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_config(&place, place.config(false, SECRET, &[])).await;
    let mut health = HealthClient::new(quire_serve::client::channel(&auth.address).unwrap());
    let request = HealthCheckRequest { service: "quire.auth.v1.AuthService".to_owned() };
    let mut changes = health.watch(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    place.database().await.migrate::<AuthMigrator>().await.unwrap();
    let next = changes.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::Serving);
    auth.sign_in("ada@example.org").await;
    drop((health, changes));
    auth.stop().await;
}
