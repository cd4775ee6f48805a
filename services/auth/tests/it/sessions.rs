//! Who am I, my sessions, logout, roles.

use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};

use crate::harness::{Auth, Place, reason, seconds};

on_both_databases!(
    a_logged_out_session_is_refused_at_once,
    sessions_are_listed_newest_first_with_their_agent,
    an_address_on_the_list_of_operators_is_an_admin,
    a_role_is_decided_anew_at_each_refresh,
    without_a_token_nothing_is_told,
);

async fn a_logged_out_session_is_refused_at_once(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (pair, other) = (auth.sign_in("ada@example.org").await, auth.sign_in("ada@example.org").await);
    auth.logout(&pair.access_token).await.unwrap();
    assert_eq!(reason(auth.me(&pair.access_token).await), "SESSION_ENDED");
    assert_eq!(reason(auth.sessions(&pair.access_token).await), "SESSION_ENDED");
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "SESSION_ENDED");
    auth.logout(&pair.access_token).await.unwrap();
    assert_eq!(auth.sessions(&other.access_token).await.unwrap().len(), 1);
    auth.stop().await;
}

async fn sessions_are_listed_newest_first_with_their_agent(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let old = auth.sign_in("ada@example.org").await;
    place.clock.advance(seconds(60));
    let new = auth.sign_in("ada@example.org").await;
    auth.sign_in("bob@example.org").await;
    let sessions = auth.sessions(&old.access_token).await.unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(!sessions[0].current && sessions[1].current);
    assert_eq!(sessions[0].id, auth.me(&new.access_token).await.unwrap().session.unwrap().id);
    assert_eq!(sessions[0].user_agent, "Browser/1.0");
    auth.stop().await;
}

async fn an_address_on_the_list_of_operators_is_an_admin(backend: Backend) {
    let place = Place::new(backend).await;
    let auth =
        Auth::start_with(&place, &[("QUIRE_ADMIN_EMAILS", "Root@example.org, other@example.org")]).await;
    for (email, role) in [("root@example.org", pb::Role::Admin), ("ada@example.org", pb::Role::User)] {
        let pair = auth.sign_in(email).await;
        assert_eq!(auth.me(&pair.access_token).await.unwrap().user.unwrap().role(), role);
    }
    auth.stop().await;
}

async fn a_role_is_decided_anew_at_each_refresh(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[("QUIRE_ADMIN_EMAILS", "root@example.org")]).await;
    let pair = auth.sign_in("root@example.org").await;
    auth.stop().await;
    let auth = Auth::start(&place).await;
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    assert_eq!(auth.me(&next.access_token).await.unwrap().user.unwrap().role(), pb::Role::User);
    auth.stop().await;
}

async fn without_a_token_nothing_is_told(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let mut client = auth.client.clone();
    assert_eq!(reason(client.get_current_user(pb::GetCurrentUserRequest {}).await), "TOKEN_MISSING");
    assert_eq!(reason(client.logout(pb::LogoutRequest {}).await), "TOKEN_MISSING");
    assert_eq!(reason(client.list_sessions(pb::ListSessionsRequest {}).await), "TOKEN_MISSING");
    assert_eq!(
        reason(client.list_audit_events(pb::ListAuditEventsRequest::default()).await),
        "TOKEN_MISSING"
    );
    drop(client);
    auth.stop().await;
}
