//! Magic links: single use, expiry, limits, and the same answer for everybody.

use quire_fault::{Fault, Rule};
use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};
use tonic::Code;

use crate::harness::{Auth, DEVICE, Place, bearer, code_of, reason, seconds, token_of};

on_both_databases!(
    of_twenty_verifications_of_one_link_exactly_one_succeeds,
    a_link_that_is_used_expired_or_unknown_is_refused_alike,
    a_link_works_until_its_last_microsecond,
    the_newest_three_links_of_an_address_work_and_one_voids_the_rest,
    the_sixth_link_for_an_address_is_refused_whether_it_is_known_or_not,
    a_text_that_is_no_address_is_a_violation_of_its_field,
    an_address_in_another_spelling_is_the_same_account,
    an_account_is_made_by_the_first_use_and_not_by_the_request,
    a_link_works_only_for_the_device_that_asked,
    a_code_signs_in_once_in_any_spelling,
    five_wrong_codes_void_the_mail_and_nothing_else,
    of_a_hundred_codes_at_once_five_are_compared,
    a_new_device_gets_a_verifier_of_its_own,
    the_whole_installation_has_a_mail_limit,
    a_mail_that_could_not_leave_is_not_counted,
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

async fn a_link_works_only_for_the_device_that_asked(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let token = auth.link_token("ada@example.org").await;
    let other = "B".repeat(43);
    for verifier in ["", "short", &other, "with spaces and other signs ...............!"] {
        assert_eq!(reason(auth.verify_as(verifier, &token, "").await), "MAGIC_LINK_INVALID", "{verifier}");
    }
    assert!(auth.verify(&token).await.is_ok(), "nothing was burned");
    let rows = "SELECT count(*) FROM audit_events WHERE reason = 'VERIFIER_MISMATCH'";
    assert_eq!(place.number(rows).await, 4);
    auth.stop().await;
}

/// The token and the code of a fresh mail.
async fn mail(auth: &Auth, email: &str) -> (String, String) {
    auth.request_link(email).await.unwrap();
    let line = auth.next_line().await;
    (token_of(&line), code_of(&line))
}

/// A code of the right shape that is another one.
fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..8])
}

async fn a_code_signs_in_once_in_any_spelling(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (token, code) = mail(&auth, "ada@example.org").await;
    assert_eq!(reason(auth.verify_as(&"B".repeat(43), "", &code).await), "MAGIC_LINK_INVALID");
    let typed = code.to_lowercase().replace('-', " ");
    let signed_in = auth.verify_code(&typed).await.unwrap();
    assert_eq!(signed_in.user.unwrap().email, "ada@example.org");
    assert_eq!(reason(auth.verify_code(&code).await), "MAGIC_LINK_INVALID");
    assert_eq!(reason(auth.verify(&token).await), "MAGIC_LINK_INVALID");
    let (_, code) = mail(&auth, "ada@example.org").await;
    place.clock.advance(seconds(901));
    assert_eq!(reason(auth.verify_code(&code).await), "MAGIC_LINK_INVALID");
    auth.stop().await;
}

async fn five_wrong_codes_void_the_mail_and_nothing_else(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (_, code) = mail(&auth, "ada@example.org").await;
    for _ in 0..4 {
        assert_eq!(reason(auth.verify_code(&wrong(&code)).await), "MAGIC_LINK_INVALID");
    }
    assert!(auth.verify_code(&code).await.is_ok(), "the fifth try may be the right one");

    let (token, code) = mail(&auth, "ada@example.org").await;
    for typed in [wrong(&code), "nonsense!".to_owned(), String::from("-"), wrong(&code), wrong(&code)] {
        assert_eq!(reason(auth.verify_code(&typed).await), "MAGIC_LINK_INVALID");
    }
    let late = auth.verify_code(&code).await.unwrap_err();
    let never = auth.verify("unknown").await.unwrap_err();
    assert_eq!(Fault::from(&late), Fault::from(&never), "the same answer");
    assert_eq!(reason(auth.verify(&token).await), "MAGIC_LINK_INVALID");
    let (token, _) = mail(&auth, "ada@example.org").await;
    assert!(auth.verify(&token).await.is_ok(), "the account is not locked");
    auth.stop().await;
}

async fn of_a_hundred_codes_at_once_five_are_compared(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let (token, code) = mail(&auth, "ada@example.org").await;
    let typed = wrong(&code);
    let outcomes = futures::future::join_all((0..100).map(|_| auth.verify_code(&typed))).await;
    assert!(outcomes.into_iter().all(|outcome| reason(outcome) == "MAGIC_LINK_INVALID"));
    assert_eq!(place.number("SELECT tries FROM magic_links").await, 5);
    assert_eq!(reason(auth.verify_code(&code).await), "MAGIC_LINK_INVALID");
    assert_eq!(reason(auth.verify(&token).await), "MAGIC_LINK_INVALID");
    auth.stop().await;
}

async fn a_new_device_gets_a_verifier_of_its_own(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let ask = async |verifier: &str| {
        let (email, verifier) = ("ada@example.org".to_owned(), verifier.to_owned());
        auth.client.clone().request_magic_link(pb::RequestMagicLinkRequest { email, verifier }).await
    };
    let first = ask("").await.unwrap().into_inner().verifier;
    let token = token_of(&auth.next_line().await);
    assert_eq!(first.len(), 43);
    let again = ask(&first).await.unwrap().into_inner().verifier;
    auth.next_line().await;
    assert_eq!(first, again, "a device keeps its verifier, so that all its links work");
    assert_ne!(ask("").await.unwrap().into_inner().verifier, first);
    auth.next_line().await;
    let refused = Fault::from(&ask("my verifier").await.unwrap_err());
    assert_eq!(refused.violations[0].field, "verifier");
    assert_eq!(reason(auth.verify_as(DEVICE, &token, "").await), "MAGIC_LINK_INVALID");
    assert!(auth.verify_as(&first, &token, "").await.is_ok());
    auth.stop().await;
}

async fn the_whole_installation_has_a_mail_limit(backend: Backend) {
    let place = Place::new(backend).await;
    let limit = ("QUIRE_MAIL_LIMIT", "2/hour, 3/minute by everybody");
    let auth = Auth::start_with(&place, &[limit, ("QUIRE_ADMIN_EMAILS", "root@example.org")]).await;
    for email in ["a@example.org", "b@example.org", "root@example.org"] {
        assert!(auth.request_link(email).await.is_ok());
    }
    assert_eq!(reason(auth.request_link("c@example.org").await), "MAIL_LIMIT");
    // What everybody's limit refused cost the address nothing.
    place.clock.advance(seconds(60));
    assert!(auth.request_link("c@example.org").await.is_ok());
    assert!(auth.request_link("c@example.org").await.is_ok());
    let refused = Fault::from(&auth.request_link("c@example.org").await.unwrap_err());
    assert_eq!(refused.reason, "MAIL_LIMIT");

    let root = loop {
        let line = auth.next_line().await;
        if line.contains("root@") {
            break auth.verify(&token_of(&line)).await.unwrap().tokens.unwrap();
        }
    };
    let ask =
        |email: &str| bearer(&root.access_token, pb::ExplainMailLimitRequest { email: email.to_owned() });
    let explained = auth.client.clone().explain_mail_limit(ask("c@example.org")).await.unwrap().into_inner();
    let state = |by: &str| explained.policies.iter().find(|state| state.by == by).unwrap().clone();
    assert_eq!((state("mailbox").remaining, state("mailbox").quota), (0, 2));
    assert_eq!(state("mailbox").next_call_millis, 1_800_000);
    assert_eq!(state("everybody").remaining, 1);
    let again = auth.client.clone().explain_mail_limit(ask("c@example.org")).await.unwrap().into_inner();
    assert_eq!(again, explained, "looking uses nothing up");
    auth.stop().await;
}

async fn a_mail_that_could_not_leave_is_not_counted(backend: Backend) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client, b"554 no\r\n").await;
        }
    });
    let place = Place::new(backend).await;
    let settings = [("QUIRE_SMTP_URL", url.as_str()), ("QUIRE_MAIL_LIMIT", "1/day")];
    let auth = Auth::start_with(&place, &settings).await;
    let failed = "SELECT count(*) FROM audit_events WHERE reason = 'MAIL_FAILED'";
    for round in 1..=3 {
        assert!(auth.request_link("ada@example.org").await.is_ok(), "round {round}");
        while place.number(failed).await < round {
            tokio::task::yield_now().await;
        }
    }
    auth.stop().await;
}
