//! The stream of revocations.

use std::time::Duration;

use quire_auth::operator::{Operator, OperatorConfig};
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::revocation::Subject;
use quire_serve::settings::Settings;
use quire_testkit::{Backend, on_both_databases};
use tonic::Streaming;

use crate::harness::{Auth, Place, SECRET, reason, seconds};

on_both_databases!(
    every_end_of_a_session_is_streamed,
    a_stream_goes_on_where_another_stopped,
    revocations_of_another_replica_are_streamed_too,
    a_new_key_changes_the_version,
    a_session_can_be_asked_for,
);

const ADMIN: (&str, &str) = ("QUIRE_ADMIN_EMAILS", "root@example.org");

/// The next revocations, past signs of life.
async fn next(stream: &mut Streaming<pb::WatchRevocationsResponse>) -> (i64, Vec<Subject>) {
    loop {
        let message = stream.message().await.unwrap().unwrap();
        if !message.revocations.is_empty() {
            let subjects = message.revocations.into_iter().map(|revocation| revocation.subject.unwrap());
            return (message.seq, subjects.collect());
        }
    }
}

async fn every_end_of_a_session_is_streamed(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[ADMIN]).await;
    let mut stream = auth.watch(0).await;
    let id = async |access: &str| auth.me(access).await.unwrap().session.unwrap().id;

    let first = auth.sign_in("ada@example.org").await;
    let first_id = id(&first.access_token).await;
    auth.logout(&first.access_token).await.unwrap();
    assert_eq!(next(&mut stream).await.1, [Subject::SessionId(first_id)]);

    let stolen = auth.sign_in("ada@example.org").await;
    let stolen_id = id(&stolen.access_token).await;
    let newer = auth.refresh(&stolen.refresh_token).await.unwrap();
    auth.me(&newer.access_token).await.unwrap();
    place.clock.advance(seconds(11));
    auth.refresh(&stolen.refresh_token).await.unwrap_err();
    assert_eq!(next(&mut stream).await.1, [Subject::SessionId(stolen_id)]);

    let (here, there) = (auth.sign_in("ada@example.org").await, auth.sign_in("ada@example.org").await);
    let there_id = id(&there.access_token).await;
    let others = crate::harness::bearer(&here.access_token, pb::RevokeOtherSessionsRequest {});
    assert_eq!(auth.client.clone().revoke_other_sessions(others).await.unwrap().into_inner().revoked, 1);
    assert_eq!(next(&mut stream).await.1, [Subject::SessionId(there_id)]);

    let root = auth.sign_in("root@example.org").await;
    let user_id = auth.me(&here.access_token).await.unwrap().user.unwrap().id;
    let here_id = id(&here.access_token).await;
    auth.block(&root.access_token, &user_id).await.unwrap();
    let blocked = next(&mut stream).await.1;
    assert!(blocked.contains(&Subject::BlockedUserId(user_id.clone())), "{blocked:?}");
    assert!(blocked.contains(&Subject::SessionId(here_id)), "{blocked:?}");
    auth.unblock(&root.access_token, &user_id).await.unwrap();
    assert_eq!(next(&mut stream).await.1, [Subject::UnblockedUserId(user_id)]);
    drop(stream);
    auth.stop().await;
}

async fn a_stream_goes_on_where_another_stopped(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (one, two) = (auth.sign_in("ada@example.org").await, auth.sign_in("ada@example.org").await);
    let two_id = auth.me(&two.access_token).await.unwrap().session.unwrap().id;
    let mut stream = auth.watch(0).await;
    auth.logout(&one.access_token).await.unwrap();
    let (seq, _) = next(&mut stream).await;
    drop(stream);
    auth.logout(&two.access_token).await.unwrap();
    let mut stream = auth.watch(seq).await;
    assert_eq!(next(&mut stream).await.1, [Subject::SessionId(two_id)]);
    drop(stream);
    // A place that this log has not reached yet is one of another database.
    let mut stream = auth.watch(1_000_000).await;
    assert_eq!(next(&mut stream).await.1.len(), 2);
    drop(stream);
    // No token of the sessions is left by then.
    place.clock.advance(seconds(3600));
    let mut stream = auth.watch(0).await;
    assert!(stream.message().await.unwrap().unwrap().revocations.is_empty());
    drop(stream);
    auth.stop().await;
}

async fn revocations_of_another_replica_are_streamed_too(backend: Backend) {
    let place = Place::new(backend).await;
    place.database().await.migrate::<quire_migrations::AuthMigrator>().await.unwrap();
    let (one, two) = (Auth::start(&place).await, Auth::start(&place).await);
    let mut stream = one.watch(0).await;
    for _ in 0..10 {
        let pair = one.sign_in("ada@example.org").await;
        // One mail in twelve minutes is the limit of an address.
        place.clock.advance(seconds(720));
        let id = one.me(&pair.access_token).await.unwrap().session.unwrap().id;
        two.logout(&pair.access_token).await.unwrap();
        assert_eq!(next(&mut stream).await.1, [Subject::SessionId(id)]);
    }
    drop(stream);
    one.stop().await;
    two.stop().await;
}

async fn a_new_key_changes_the_version(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let mut stream = auth.watch(0).await;
    let before = stream.message().await.unwrap().unwrap().keys_version;
    let config = OperatorConfig::read(&mut Settings::default(), &place.common(false, SECRET));
    let operator = Operator::open(&config, place.world()).await.unwrap();
    let rotated = operator.rotate(Duration::from_secs(600)).await.unwrap();
    while stream.message().await.unwrap().unwrap().keys_version == before {}
    let keys = auth.keys().await;
    let key = keys.iter().find(|key| key.kid == rotated.kid).unwrap();
    assert_eq!(key.state(), pb::SigningKeyState::Standby);
    operator.close().await.unwrap();
    drop(stream);
    auth.stop().await;
}

async fn a_session_can_be_asked_for(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let me = auth.me(&pair.access_token).await.unwrap();
    let (session_id, user_id) = (me.session.unwrap().id, me.user.unwrap().id);
    let ask = |session_id: &str| {
        let (session_id, user_id) = (session_id.to_owned(), user_id.clone());
        auth.service(pb::CheckSessionRequest { session_id, user_id })
    };
    assert!(auth.client.clone().check_session(ask(&session_id)).await.is_ok());
    assert_eq!(reason(auth.client.clone().check_session(ask("unknown")).await), "SESSION_ENDED");
    auth.logout(&pair.access_token).await.unwrap();
    assert_eq!(reason(auth.client.clone().check_session(ask(&session_id)).await), "SESSION_ENDED");
    auth.stop().await;
}
