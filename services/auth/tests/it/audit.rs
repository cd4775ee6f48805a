//! The audit log through its RPC.

use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};
use tonic::Code;

use crate::harness::{Auth, Place, reason, seconds};

on_both_databases!(
    the_log_tells_success_and_failure_and_where_from,
    a_user_sees_own_events_and_an_admin_those_of_everybody,
    pages_follow_each_other_without_gap_or_repeat,
    nothing_secret_is_in_the_database,
);

fn page(size: i32, token: &str) -> pb::ListAuditEventsRequest {
    pb::ListAuditEventsRequest { page_size: size, page_token: token.to_owned(), everybody: false }
}

async fn the_log_tells_success_and_failure_and_where_from(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    place.clock.advance(seconds(1));
    auth.refresh(&pair.refresh_token).await.unwrap();
    place.clock.advance(seconds(11));
    auth.refresh(&pair.refresh_token).await.unwrap_err();
    // The session is over: another sign-in reads the log.
    let pair = auth.sign_in("ada@example.org").await;
    let events = auth.events(&pair.access_token, page(0, "")).await.unwrap().events;
    let of = |action: &str, outcome: &str| {
        let mut found = events.iter().filter(|event| event.action == action && event.outcome == outcome);
        found.next().unwrap_or_else(|| panic!("no {outcome} of {action} in {events:?}")).clone()
    };
    let refused = of("session.refreshed", "failure");
    assert_eq!(refused.reason, "REFRESH_TOKEN_REUSED");
    assert_eq!(refused.client_address, "203.0.113.7");
    assert_eq!(refused.request_id, "request-of-the-test");
    let refreshed = of("session.refreshed", "success");
    assert_eq!((refreshed.reason.as_str(), &refreshed.session_id), ("", &refused.session_id));
    assert!(!refreshed.session_id.is_empty());
    of("magic_link.verified", "success");
    of("session.revoked", "success");
    auth.stop().await;
}

async fn a_user_sees_own_events_and_an_admin_those_of_everybody(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[("QUIRE_ADMIN_EMAILS", "root@example.org")]).await;
    let (ada, root) = (auth.sign_in("ada@example.org").await, auth.sign_in("root@example.org").await);
    let id = auth.me(&ada.access_token).await.unwrap().user.unwrap().id;
    let own = auth.events(&ada.access_token, page(0, "")).await.unwrap().events;
    assert!(!own.is_empty() && own.iter().all(|event| event.user_id == id));
    let all = pb::ListAuditEventsRequest { everybody: true, ..page(200, "") };
    let refused = auth.events(&ada.access_token, all.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let all = auth.events(&root.access_token, all).await.unwrap().events;
    assert!(all.iter().any(|event| event.user_id == id));
    assert!(all.iter().any(|event| event.action == "signing_key.created"));
    auth.stop().await;
}

async fn pages_follow_each_other_without_gap_or_repeat(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let mut pair = auth.sign_in("ada@example.org").await;
    for round in 0..7 {
        // Some events share a moment.
        place.clock.advance(seconds(round % 2));
        pair = auth.refresh(&pair.refresh_token).await.unwrap();
    }
    let whole = auth.events(&pair.access_token, page(200, "")).await.unwrap();
    assert!(whole.next_page_token.is_empty());
    let mut pieces = Vec::new();
    let mut token = String::new();
    loop {
        let piece = auth.events(&pair.access_token, page(3, &token)).await.unwrap();
        assert!(piece.events.len() <= 3);
        pieces.extend(piece.events);
        token = piece.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pieces, whole.events);
    assert_eq!(reason(auth.events(&pair.access_token, page(3, "!")).await), "PAGE_TOKEN_INVALID");
    assert_eq!(reason(auth.events(&pair.access_token, page(201, "")).await), "VALIDATION_FAILED");
    assert_eq!(reason(auth.events(&pair.access_token, page(-1, "")).await), "VALIDATION_FAILED");
    auth.stop().await;
}

async fn nothing_secret_is_in_the_database(backend: Backend) {
    if backend != Backend::Sqlite {
        return;
    }
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let link = auth.link_token("ada@example.org").await;
    let pair = auth.verify(&link).await.unwrap().tokens.unwrap();
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.stop().await;
    let file = place.database.url().trim_start_matches("sqlite://").to_owned();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend(std::fs::read(format!("{file}-wal")).unwrap_or_default());
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in
        [link, signature(&pair.refresh_token), signature(&next.refresh_token), signature(&next.access_token)]
    {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    assert!(bytes.windows(15).any(|window| window == b"ada@example.org"), "the right file was read");
}
