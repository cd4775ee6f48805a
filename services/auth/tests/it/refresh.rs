//! Refresh: rotation, races, the grace, reuse, expiry.

use std::time::Duration;

use quire_testkit::{Backend, on_both_databases};

use crate::harness::{Auth, Place, reason, seconds};

on_both_databases!(
    fifty_refreshes_at_once_yield_one_successor,
    the_token_before_works_for_ten_seconds_and_then_ends_the_session,
    reuse_ends_that_session_and_no_other,
    a_token_two_generations_old_is_reuse_even_within_the_grace,
    a_spent_token_is_recognised_after_a_restart,
    refreshing_while_logging_out_leaves_nothing_that_works,
    a_session_ends_when_it_is_idle_and_at_its_absolute_end,
    every_refresh_leaves_an_audit_row,
);

async fn fifty_refreshes_at_once_yield_one_successor(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let outcomes = futures::future::join_all((0..50).map(|_| auth.refresh(&pair.refresh_token))).await;
    let tokens: Vec<String> = outcomes.into_iter().map(|outcome| outcome.unwrap().refresh_token).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_ne!(tokens[0], pair.refresh_token);
    assert_eq!(place.number("SELECT generation FROM sessions").await, 2);
    let rows = "SELECT count(*) FROM audit_events WHERE action =";
    assert_eq!(place.number(&format!("{rows} 'session.refreshed'")).await, 1);
    assert_eq!(place.number(&format!("{rows} 'session.refresh_grace'")).await, 49);
    assert!(auth.refresh(&tokens[0]).await.is_ok());
    auth.stop().await;
}

async fn the_token_before_works_for_ten_seconds_and_then_ends_the_session(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    for _ in 0..2 {
        place.clock.advance(seconds(5));
        let again = auth.refresh(&pair.refresh_token).await.unwrap();
        assert_eq!(again.refresh_token, next.refresh_token);
    }
    place.clock.advance(Duration::from_micros(1));
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "SESSION_ENDED");
    auth.stop().await;
}

async fn reuse_ends_that_session_and_no_other(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (stolen, other) = (auth.sign_in("ada@example.org").await, auth.sign_in("ada@example.org").await);
    let next = auth.refresh(&stolen.refresh_token).await.unwrap();
    place.clock.advance(seconds(11));
    assert_eq!(reason(auth.refresh(&stolen.refresh_token).await), "REFRESH_TOKEN_REUSED");
    // Revoking is not rotating: no grace brings the newest token back.
    assert_eq!(reason(auth.refresh(&next.refresh_token).await), "SESSION_ENDED");
    assert_eq!(reason(auth.me(&next.access_token).await), "SESSION_ENDED");
    assert!(auth.me(&other.access_token).await.is_ok());
    assert!(auth.refresh(&other.refresh_token).await.is_ok());
    let revoked = "SELECT count(*) FROM sessions WHERE revoke_reason = 'reuse'";
    assert_eq!(place.number(revoked).await, 1);
    auth.stop().await;
}

async fn a_token_two_generations_old_is_reuse_even_within_the_grace(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let first = auth.sign_in("ada@example.org").await;
    let second = auth.refresh(&first.refresh_token).await.unwrap();
    let third = auth.refresh(&second.refresh_token).await.unwrap();
    assert_ne!(second.refresh_token, third.refresh_token, "two generations within one second differ");
    assert_eq!(reason(auth.refresh(&first.refresh_token).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(auth.refresh(&third.refresh_token).await), "SESSION_ENDED");
    auth.stop().await;
}

async fn a_spent_token_is_recognised_after_a_restart(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.stop().await;
    place.clock.advance(seconds(11));
    let auth = Auth::start(&place).await;
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(auth.refresh(&next.refresh_token).await), "SESSION_ENDED");
    auth.stop().await;
}

async fn refreshing_while_logging_out_leaves_nothing_that_works(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[("QUIRE_MAIL_LIMIT", "100/second")]).await;
    for _ in 0..20 {
        let pair = auth.sign_in("ada@example.org").await;
        let (refreshed, out) =
            tokio::join!(auth.refresh(&pair.refresh_token), auth.logout(&pair.access_token));
        out.unwrap();
        if let Ok(next) = refreshed {
            assert_eq!(reason(auth.refresh(&next.refresh_token).await), "SESSION_ENDED");
            assert_eq!(reason(auth.me(&next.access_token).await), "SESSION_ENDED");
        }
    }
    auth.stop().await;
}

async fn a_session_ends_when_it_is_idle_and_at_its_absolute_end(backend: Backend) {
    let place = Place::new(backend).await;
    let settings = [("QUIRE_SESSION_IDLE_SECONDS", "100"), ("QUIRE_SESSION_ABSOLUTE_SECONDS", "250")];
    let auth = Auth::start_with(&place, &settings).await;
    let idle = auth.sign_in("ada@example.org").await;
    place.clock.advance(seconds(100));
    assert_eq!(reason(auth.refresh(&idle.refresh_token).await), "SESSION_ENDED");

    let mut pair = auth.sign_in("ada@example.org").await;
    for _ in 0..3 {
        place.clock.advance(seconds(80));
        pair = auth.refresh(&pair.refresh_token).await.unwrap();
    }
    let end = quire_proto::from_timestamp(&pair.refresh_expires_at.unwrap());
    assert_eq!(end, (1_700_000_000 + 350) * 1_000_000, "no token outlives the session");
    assert_eq!(quire_proto::from_timestamp(&pair.access_expires_at.unwrap()), end);
    place.clock.advance(seconds(10));
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "SESSION_ENDED");
    auth.stop().await;
}

async fn every_refresh_leaves_an_audit_row(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    auth.refresh(&pair.refresh_token).await.unwrap();
    auth.refresh("garbage").await.unwrap_err();
    place.clock.advance(seconds(11));
    auth.refresh(&pair.refresh_token).await.unwrap_err();
    let rows = "SELECT count(*) FROM audit_events WHERE action = 'session.refreshed' AND reason =";
    for reason in ["''", "'REFRESH_TOKEN_INVALID'", "'REFRESH_TOKEN_REUSED'"] {
        assert_eq!(place.number(&format!("{rows} {reason}")).await, 1, "{reason}");
    }
    let rows = "SELECT count(*) FROM audit_events WHERE action = 'session.revoked' AND outcome = 'success'";
    assert_eq!(place.number(rows).await, 1);
    auth.stop().await;
}
