//! Refresh: rotation, races, the grace, reuse, expiry.

use std::time::Duration;

use quire_auth::operator::{Operator, OperatorConfig};
use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};

use crate::harness::{Auth, Place, SECRET, mails, reason, seconds};

on_both_databases!(
    fifty_refreshes_at_once_yield_one_successor,
    the_token_before_works_for_ten_seconds_and_then_ends_the_session,
    reuse_ends_that_session_and_no_other,
    a_token_two_generations_old_is_reuse_even_within_the_grace,
    a_spent_token_is_recognised_after_a_restart,
    refreshing_while_logging_out_leaves_nothing_that_works,
    a_session_ends_when_it_is_idle_and_at_its_absolute_end,
    every_refresh_leaves_an_audit_row,
    a_lost_answer_does_not_end_the_session,
    a_confirmation_of_any_verifier_counts,
    a_thief_one_generation_behind_is_found_out,
    the_owner_of_a_reused_session_gets_a_mail,
    the_successor_is_the_same_over_a_rotation_of_keys,
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
    auth.me(&next.access_token).await.unwrap();
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
    auth.me(&next.access_token).await.unwrap();
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
    auth.me(&next.access_token).await.unwrap();
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
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.me(&next.access_token).await.unwrap();
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

async fn a_lost_answer_does_not_end_the_session(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let lost = auth.refresh(&pair.refresh_token).await.unwrap();
    // Hours later, also over a restart: nothing of the answer was ever used.
    place.clock.advance(seconds(3600));
    auth.stop().await;
    let auth = Auth::start(&place).await;
    let found = auth.refresh(&pair.refresh_token).await.unwrap();
    assert_eq!(found.refresh_token, lost.refresh_token);
    let rows = "SELECT count(*) FROM audit_events WHERE action = 'session.refresh_retried'";
    assert_eq!(place.number(rows).await, 1);
    place.clock.advance(seconds(86_400 - 3600));
    assert!(auth.refresh(&pair.refresh_token).await.is_ok(), "up to a day");
    place.clock.advance(Duration::from_micros(1));
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "REFRESH_TOKEN_REUSED");
    auth.stop().await;
}

async fn a_confirmation_of_any_verifier_counts(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let id = auth.me(&pair.access_token).await.unwrap().session.unwrap().id;
    auth.refresh(&pair.refresh_token).await.unwrap();
    let confirm = |generation| {
        let seen = vec![
            pb::SeenGeneration { session_id: "unknown".to_owned(), generation: 7 },
            pb::SeenGeneration { session_id: id.clone(), generation },
        ];
        auth.service(pb::ConfirmGenerationsRequest { seen })
    };
    // A generation that does not exist yet confirms nothing.
    auth.client.clone().confirm_generations(confirm(3)).await.unwrap();
    place.clock.advance(seconds(11));
    assert!(auth.refresh(&pair.refresh_token).await.is_ok());
    auth.client.clone().confirm_generations(confirm(2)).await.unwrap();
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "REFRESH_TOKEN_REUSED");
    auth.stop().await;
}

async fn a_thief_one_generation_behind_is_found_out(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let stolen = auth.sign_in("ada@example.org").await;
    let victim = auth.refresh(&stolen.refresh_token).await.unwrap();
    place.clock.advance(seconds(20));
    // The victim goes on: whatever generation the thief has now is two behind.
    let victim = auth.refresh(&victim.refresh_token).await.unwrap();
    place.clock.advance(seconds(20));
    assert_eq!(reason(auth.refresh(&stolen.refresh_token).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(auth.refresh(&victim.refresh_token).await), "SESSION_ENDED");

    let stolen = auth.sign_in("ada@example.org").await;
    let victim = auth.refresh(&stolen.refresh_token).await.unwrap();
    auth.me(&victim.access_token).await.unwrap();
    place.clock.advance(seconds(20));
    assert_eq!(reason(auth.refresh(&stolen.refresh_token).await), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(auth.me(&victim.access_token).await), "SESSION_ENDED");
    auth.stop().await;
}

async fn the_owner_of_a_reused_session_gets_a_mail(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.me(&next.access_token).await.unwrap();
    place.clock.advance(seconds(11));
    auth.refresh(&pair.refresh_token).await.unwrap_err();
    auth.refresh(&pair.refresh_token).await.unwrap_err();
    // Stopping waits for the mails under way.
    auth.stop().await;
    let mails: Vec<String> =
        mails(&place).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let told: Vec<_> = mails.iter().filter(|mail| mail.contains("A sign-in of yours was ended")).collect();
    assert_eq!(told.len(), 1, "{mails:?}");
    assert!(told[0].contains("To: ada@example.org") && told[0].contains("203.0.113.7"), "{}", told[0]);
    assert!(told[0].contains("Browser/1.0") && !told[0].contains("#token="), "{}", told[0]);
    let rows = "SELECT count(*) FROM audit_events WHERE action = 'session.reuse_mailed'";
    assert_eq!(place.number(rows).await, 1);
}

async fn the_successor_is_the_same_over_a_rotation_of_keys(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    let mut settings = quire_serve::settings::Settings::default();
    let config = OperatorConfig::read(&mut settings, &place.common(false, SECRET));
    let operator = Operator::open(&config, place.world()).await.unwrap();
    operator.rotate(Duration::ZERO).await.unwrap();
    auth.stop().await;
    let auth = Auth::start(&place).await;
    let again = auth.refresh(&pair.refresh_token).await.unwrap();
    assert_eq!(again.refresh_token, next.refresh_token);
    operator.close().await.unwrap();
    auth.stop().await;
}
