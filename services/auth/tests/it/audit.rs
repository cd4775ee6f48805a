//! The audit log through its RPC.

use quire_auth::operator::{AuditError, Operator, OperatorConfig};
use quire_proto::auth::v1 as pb;
use quire_serve::settings::Settings;
use quire_testkit::{Backend, on_both_databases};
use sea_orm::ConnectionTrait;
use tonic::Code;

use crate::harness::{Auth, DEVICE, Place, SECRET, code_of, reason, seconds, token_of};

on_both_databases!(
    the_log_tells_success_and_failure_and_where_from,
    a_user_sees_own_events_and_an_admin_those_of_everybody,
    pages_follow_each_other_without_gap_or_repeat,
    nothing_secret_is_in_the_database,
    filters_narrow_the_log,
    a_row_that_was_changed_or_taken_out_is_found,
    the_log_cannot_be_changed_by_a_statement,
    old_rows_are_deleted_and_the_rest_still_verifies,
    rows_of_racing_changes_have_numbers_without_gaps,
);

fn page(size: i32, token: &str) -> pb::ListAuditEventsRequest {
    pb::ListAuditEventsRequest { page_size: size, page_token: token.to_owned(), ..Default::default() }
}

async fn the_log_tells_success_and_failure_and_where_from(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    place.clock.advance(seconds(1));
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.me(&next.access_token).await.unwrap();
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
    auth.request_link("ada@example.org").await.unwrap();
    let line = auth.next_line().await;
    let (link, code) = (token_of(&line), code_of(&line).replace('-', ""));
    let pair = auth.verify(&link).await.unwrap().tokens.unwrap();
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.stop().await;
    let file = place.database.url().trim_start_matches("sqlite://").to_owned();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend(std::fs::read(format!("{file}-wal")).unwrap_or_default());
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in [
        link,
        code,
        DEVICE.to_owned(),
        signature(&pair.refresh_token),
        signature(&next.refresh_token),
        signature(&next.access_token),
    ] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    assert!(bytes.windows(15).any(|window| window == b"ada@example.org"), "the right file was read");
}

async fn operator(place: &Place) -> Operator {
    let config = OperatorConfig::read(&mut Settings::default(), &place.common(false, SECRET));
    Operator::open(&config, place.world()).await.unwrap()
}

async fn filters_narrow_the_log(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[("QUIRE_ADMIN_EMAILS", "root@example.org")]).await;
    let (ada, root) = (auth.sign_in("ada@example.org").await, auth.sign_in("root@example.org").await);
    let id = auth.me(&ada.access_token).await.unwrap().user.unwrap().id;
    auth.refresh("garbage").await.unwrap_err();
    let all = pb::ListAuditEventsRequest { everybody: true, ..page(200, "") };
    let count = async |request: pb::ListAuditEventsRequest| {
        auth.events(&root.access_token, request).await.unwrap().events.len()
    };
    let whole = count(all.clone()).await;
    let of_ada = pb::ListAuditEventsRequest { user_id: id.clone(), ..all.clone() };
    let narrowed = count(of_ada.clone()).await;
    assert!(narrowed > 0 && narrowed < whole, "{narrowed} of {whole}");
    let verified = pb::ListAuditEventsRequest { action: "magic_link.verified".to_owned(), ..of_ada };
    assert_eq!(count(verified).await, 1);
    let links = pb::ListAuditEventsRequest { action: "magic_link.".to_owned(), ..all.clone() };
    assert!(count(links).await >= 4);
    let failed = pb::ListAuditEventsRequest { outcome: "failure".to_owned(), ..all.clone() };
    assert_eq!(count(failed).await, 1);
    let by_reason = pb::ListAuditEventsRequest { reason: "REFRESH_TOKEN_INVALID".to_owned(), ..all.clone() };
    assert_eq!(count(by_reason).await, 1);
    let from = pb::ListAuditEventsRequest { client_address: "203.0.113.7".to_owned(), ..all.clone() };
    assert!(count(from).await > 0);
    let now = quire_proto::timestamp(place.world().now().unix_micros());
    assert_eq!(count(pb::ListAuditEventsRequest { until: Some(now), ..all.clone() }).await, 0);
    assert_eq!(count(pb::ListAuditEventsRequest { since: Some(now), ..all.clone() }).await, whole);
    // Without `everybody`, other people's ids are of no use.
    let foreign = pb::ListAuditEventsRequest { user_id: "somebody".to_owned(), ..page(200, "") };
    let own = auth.events(&ada.access_token, foreign).await.unwrap().events;
    assert!(own.iter().all(|event| event.user_id == id));
    for wrong in [
        pb::ListAuditEventsRequest { outcome: "maybe".to_owned(), ..all.clone() },
        pb::ListAuditEventsRequest { action: "x\0".to_owned(), ..all.clone() },
        pb::ListAuditEventsRequest { reason: "x".repeat(201), ..all.clone() },
    ] {
        assert_eq!(reason(auth.events(&root.access_token, wrong).await), "VALIDATION_FAILED");
    }
    auth.stop().await;
}

/// Writes around the guards of the log, as somebody could who owns the database.
async fn tamper(place: &Place, statement: &str) {
    let database = place.database().await;
    let reader = database.reader();
    let off = if database.is_postgres() {
        vec!["ALTER TABLE audit_events DISABLE TRIGGER ALL"]
    } else {
        vec!["DROP TRIGGER audit_events_no_update", "DROP TRIGGER audit_events_no_delete"]
    };
    for statement in off {
        // The second tampering of a test finds them gone.
        let _ = reader.execute_unprepared(statement).await;
    }
    reader.execute_unprepared(statement).await.unwrap();
    database.close().await.unwrap();
}

async fn a_row_that_was_changed_or_taken_out_is_found(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.sign_in("ada@example.org").await;
    auth.refresh("garbage").await.unwrap_err();
    auth.stop().await;
    let operator = operator(&place).await;
    let report = operator.verify_audit(None).await.unwrap();
    assert_eq!(report.verified, u64::try_from(report.head_seq).unwrap());
    assert!(operator.verify_audit(Some((report.head_seq, &report.head_hash))).await.is_ok());

    tamper(&place, "UPDATE audit_events SET reason = 'NOTHING' WHERE reason = 'REFRESH_TOKEN_INVALID'").await;
    assert!(matches!(operator.verify_audit(None).await, Err(AuditError::Changed { .. })));
    let back = "UPDATE audit_events SET reason = 'REFRESH_TOKEN_INVALID' WHERE reason = 'NOTHING'";
    tamper(&place, back).await;
    operator.verify_audit(None).await.unwrap();

    // Cutting off the end leaves a whole chain; only the noted head tells.
    let last = report.head_seq;
    let cut = format!("DELETE FROM audit_events WHERE seq = {last}");
    tamper(&place, &cut).await;
    assert!(matches!(operator.verify_audit(None).await, Err(AuditError::Head { .. })));
    let head = format!(
        "UPDATE audit_head SET seq = {0}, hash = (SELECT hash FROM audit_events WHERE seq = {0})",
        last - 1
    );
    tamper(&place, &head).await;
    operator.verify_audit(None).await.unwrap();
    let noted = operator.verify_audit(Some((last, &report.head_hash))).await;
    assert!(matches!(noted, Err(AuditError::Noted { .. })), "{noted:?}");

    tamper(&place, "DELETE FROM audit_events WHERE seq = 2").await;
    assert!(matches!(operator.verify_audit(None).await, Err(AuditError::Missing { seq: 2, found: 3 })));
    operator.close().await.unwrap();
}

async fn the_log_cannot_be_changed_by_a_statement(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    auth.sign_in("ada@example.org").await;
    auth.stop().await;
    let database = place.database().await;
    for statement in ["UPDATE audit_events SET reason = 'X'", "DELETE FROM audit_events WHERE seq = 1"] {
        let refused = database.reader().execute_unprepared(statement).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    database.close().await.unwrap();
}

async fn old_rows_are_deleted_and_the_rest_still_verifies(backend: Backend) {
    let place = Place::new(backend).await;
    let settings = [("QUIRE_AUDIT_RETENTION_SECONDS", "1000")];
    let auth = Auth::start_with(&place, &settings).await;
    auth.sign_in("old@example.org").await;
    auth.stop().await;
    place.clock.advance(seconds(2000));
    let auth = Auth::start_with(&place, &settings).await;
    auth.sign_in("new@example.org").await;
    // The janitor cleans up at the start.
    let pruned = "SELECT count(*) FROM audit_events WHERE action = 'audit.pruned'";
    while place.number(pruned).await == 0 {
        tokio::task::yield_now().await;
    }
    auth.stop().await;
    assert!(place.number("SELECT min(seq) FROM audit_events").await > 1);
    let operator = operator(&place).await;
    let report = operator.verify_audit(None).await.unwrap();
    assert!(report.pruned_seq > 0);
    assert_eq!(i64::try_from(report.verified).unwrap(), report.head_seq - report.pruned_seq);
    operator.close().await.unwrap();
}

async fn rows_of_racing_changes_have_numbers_without_gaps(backend: Backend) {
    let place = Place::new(backend).await;
    place.database().await.migrate::<quire_migrations::AuthMigrator>().await.unwrap();
    let replicas = futures::future::join_all((0..3).map(|_| Auth::start(&place))).await;
    let calls = (0..150).map(|number| replicas[number % 3].refresh("garbage"));
    let outcomes = futures::future::join_all(calls).await;
    assert!(outcomes.into_iter().all(|outcome| reason(outcome) == "REFRESH_TOKEN_INVALID"));
    for replica in replicas {
        replica.stop().await;
    }
    let rows = "SELECT count(*) FROM audit_events WHERE reason = 'REFRESH_TOKEN_INVALID'";
    assert_eq!(place.number(rows).await, 150);
    let operator = operator(&place).await;
    operator.verify_audit(None).await.unwrap();
    operator.close().await.unwrap();
}
