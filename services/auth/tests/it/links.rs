//! Magic links: single use, expiry, limits, and the same answer for everybody.

use quire_fault::{Fault, Rule};
use quire_testkit::{Backend, on_both_databases};
use tonic::Code;

use crate::harness::{Auth, Place, reason, seconds};

on_both_databases!(
    of_twenty_verifications_of_one_link_exactly_one_succeeds,
    a_link_that_is_used_expired_or_unknown_is_refused_alike,
    a_link_works_until_its_last_microsecond,
    the_newest_three_links_of_an_address_work_and_one_voids_the_rest,
    the_sixth_link_for_an_address_is_refused_whether_it_is_known_or_not,
    a_text_that_is_no_address_is_a_violation_of_its_field,
    an_address_in_another_spelling_is_the_same_account,
    an_account_is_made_by_the_first_use_and_not_by_the_request,
);

async fn of_twenty_verifications_of_one_link_exactly_one_succeeds(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let token = auth.link_token("ada@example.org").await;
    let outcomes = futures::future::join_all((0..20).map(|_| auth.verify(&token))).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.into_iter().all(|outcome| reason(outcome) == "MAGIC_LINK_INVALID"));
    assert_eq!(place.number("SELECT count(*) FROM sessions").await, 1);
    assert_eq!(place.number("SELECT count(*) FROM users").await, 1);
    let rows = "SELECT count(*) FROM audit_events WHERE action = 'magic_link.verified' AND outcome";
    assert_eq!(place.number(&format!("{rows} = 'success'")).await, 1);
    assert_eq!(place.number(&format!("{rows} = 'failure'")).await, 19);
    auth.stop().await;
}

async fn a_link_that_is_used_expired_or_unknown_is_refused_alike(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let used = auth.link_token("ada@example.org").await;
    auth.verify(&used).await.unwrap();
    let expired = auth.link_token("ada@example.org").await;
    place.clock.advance(seconds(901));
    let tokens = [used.clone(), expired, "A".repeat(43), used[..42].to_owned(), String::new()];
    let mut faults = Vec::new();
    for token in tokens {
        let status = auth.verify(&token).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        faults.push(Fault::from(&status));
    }
    assert!(faults.windows(2).all(|pair| pair[0] == pair[1]), "{faults:?}");
    auth.stop().await;
}

async fn a_link_works_until_its_last_microsecond(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[("QUIRE_MAGIC_LINK_SECONDS", "60")]).await;
    assert_eq!(auth.request_link("eve@example.org").await.unwrap(), 60);
    auth.next_line().await;
    let (first, second) =
        (auth.link_token("ada@example.org").await, auth.link_token("bob@example.org").await);
    place.clock.advance(std::time::Duration::from_micros(59_999_999));
    assert!(auth.verify(&first).await.is_ok());
    place.clock.advance(std::time::Duration::from_micros(1));
    assert_eq!(reason(auth.verify(&second).await), "MAGIC_LINK_INVALID");
    auth.stop().await;
}

async fn the_newest_three_links_of_an_address_work_and_one_voids_the_rest(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(auth.link_token("ada@example.org").await);
        place.clock.advance(seconds(1));
    }
    assert_eq!(reason(auth.verify(&tokens[0]).await), "MAGIC_LINK_INVALID");
    assert!(auth.verify(&tokens[1]).await.is_ok());
    assert_eq!(reason(auth.verify(&tokens[2]).await), "MAGIC_LINK_INVALID");
    assert_eq!(reason(auth.verify(&tokens[3]).await), "MAGIC_LINK_INVALID");
    auth.stop().await;
}

async fn the_sixth_link_for_an_address_is_refused_whether_it_is_known_or_not(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.sign_in("known@example.org").await;
    place.clock.advance(seconds(3600));
    let mut refusals = Vec::new();
    for email in ["known@example.org", "unknown@example.org"] {
        for _ in 0..5 {
            assert_eq!(auth.request_link(email).await.unwrap(), 900);
        }
        let status = auth.request_link(email).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        refusals.push(Fault::from(&status));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].retry_after, Some(seconds(720)));
    assert!(auth.request_link("another@example.org").await.is_ok());
    place.clock.advance(seconds(720));
    assert!(auth.request_link("known@example.org").await.is_ok());
    auth.stop().await;
}

async fn a_text_that_is_no_address_is_a_violation_of_its_field(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    for text in ["", "ada", "ada@example.org\r\nBcc: eve@example.org", "a@b@c", "ada @example.org"] {
        let fault = Fault::from(&auth.request_link(text).await.unwrap_err());
        assert_eq!(fault.violations.len(), 1, "{text:?}");
        assert_eq!(fault.violations[0].field, "email");
        assert!(matches!(fault.violations[0].rule, Rule::Value(_) | Rule::StringTooShort(1)));
    }
    let rows = "SELECT count(*) FROM audit_events WHERE reason = 'EMAIL_INVALID'";
    assert_eq!(place.number(rows).await, 5);
    auth.stop().await;
}

async fn an_address_in_another_spelling_is_the_same_account(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let mut users = Vec::new();
    for email in ["ada@example.org", "  ADA@Example.Org "] {
        let token = auth.link_token(email).await;
        users.push(auth.verify(&token).await.unwrap().user.unwrap());
    }
    assert_eq!(users[0], users[1]);
    assert_eq!(users[0].email, "ada@example.org");
    auth.stop().await;
}

async fn an_account_is_made_by_the_first_use_and_not_by_the_request(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let token = auth.link_token("ada@example.org").await;
    assert_eq!(place.number("SELECT count(*) FROM users").await, 0);
    place.clock.advance(seconds(901));
    assert!(auth.verify(&token).await.is_err());
    assert_eq!(place.number("SELECT count(*) FROM users").await, 0);
    let token = auth.link_token("ada@example.org").await;
    auth.verify(&token).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM users").await, 1);
    auth.stop().await;
}
