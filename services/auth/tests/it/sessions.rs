//! Who am I, my sessions, logout, roles.

use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};

use crate::harness::{Auth, Place, bearer, reason, seconds};

on_both_databases!(
    a_logged_out_session_is_refused_at_once,
    sessions_are_listed_newest_first_with_their_agent,
    an_address_on_the_list_of_operators_is_an_admin,
    a_role_is_decided_anew_at_each_refresh,
    without_a_token_nothing_is_told,
    a_session_may_be_renamed_and_revoked_by_its_owner_alone,
    all_other_sessions_can_be_ended_at_once,
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

async fn a_session_may_be_renamed_and_revoked_by_its_owner_alone(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (ada, phone) = (auth.sign_in("ada@example.org").await, auth.sign_in("ada@example.org").await);
    let bob = auth.sign_in("bob@example.org").await;
    let id = auth.me(&phone.access_token).await.unwrap().session.unwrap().id;
    let rename = async |access: &str, session_id: &str, name: &str| {
        let (session_id, name) = (session_id.to_owned(), name.to_owned());
        let request = bearer(access, pb::RenameSessionRequest { session_id, name });
        auth.client.clone().rename_session(request).await.map(|answer| answer.into_inner().session.unwrap())
    };
    let revoke = async |access: &str, session_id: &str| {
        let request = bearer(access, pb::RevokeSessionRequest { session_id: session_id.to_owned() });
        auth.client.clone().revoke_session(request).await.map(|_| ())
    };
    assert_eq!(rename(&ada.access_token, &id, "  My phone ").await.unwrap().name, "My phone");
    for wrong in ["", "  ", "a\nb", &"x".repeat(101)] {
        assert_eq!(reason(rename(&ada.access_token, &id, wrong).await), "VALIDATION_FAILED");
    }
    for unknown in ["unknown", "no\0thing", ""] {
        assert_eq!(reason(rename(&ada.access_token, unknown, "x").await), "SESSION_NOT_FOUND");
        assert_eq!(reason(revoke(&ada.access_token, unknown).await), "SESSION_NOT_FOUND");
    }
    assert_eq!(reason(rename(&bob.access_token, &id, "Bob's").await), "SESSION_NOT_FOUND");
    assert_eq!(reason(revoke(&bob.access_token, &id).await), "SESSION_NOT_FOUND");
    assert!(auth.me(&phone.access_token).await.is_ok());

    revoke(&ada.access_token, &id).await.unwrap();
    revoke(&ada.access_token, &id).await.unwrap();
    assert_eq!(reason(auth.me(&phone.access_token).await), "SESSION_ENDED");
    assert_eq!(reason(auth.refresh(&phone.refresh_token).await), "SESSION_ENDED");
    assert!(auth.me(&ada.access_token).await.is_ok());
    let rows = "SELECT count(*) FROM audit_events WHERE action = 'session.revoked'";
    assert_eq!(place.number(rows).await, 1);
    auth.stop().await;
}

async fn all_other_sessions_can_be_ended_at_once(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(auth.sign_in("ada@example.org").await);
    }
    let bob = auth.sign_in("bob@example.org").await;
    let here = &pairs[1];
    let request = || bearer(&here.access_token, pb::RevokeOtherSessionsRequest {});
    assert_eq!(auth.client.clone().revoke_other_sessions(request()).await.unwrap().into_inner().revoked, 3);
    assert_eq!(auth.client.clone().revoke_other_sessions(request()).await.unwrap().into_inner().revoked, 0);
    let left = auth.sessions(&here.access_token).await.unwrap();
    assert!(left.len() == 1 && left[0].current);
    assert!(auth.me(&bob.access_token).await.is_ok());
    for pair in [&pairs[0], &pairs[2], &pairs[3]] {
        assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "SESSION_ENDED");
    }
    auth.stop().await;
}
