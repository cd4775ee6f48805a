//! Who may say that something was paid: signatures, their age, their secrets, and the bytes that they are about.

use quire_fault::{Fault, Kind};
use quire_payment::config::DEVELOPMENT_WEBHOOK_SECRET;
use quire_proto::payment::v1 as pb;
use quire_sandbox::signature::sign;
use quire_testkit::Backend;
use serde_json::json;

use crate::events::session_event;
use crate::ledger::{count, texts};
use crate::stage::{Client, Stage};

const SECRET: &str = DEVELOPMENT_WEBHOOK_SECRET;

quire_testkit::on_both_databases!(
    only_a_good_signature_comes_in_and_each_other_has_its_reason,
    secrets_are_replaced_without_losing_an_event,
    a_body_is_taken_byte_for_byte,
);

async fn post(client: &Client, payload: &[u8], signature: Option<&str>) -> Result<pb::WebhookVerdict, Fault> {
    let request =
        pb::HandleWebhookRequest { payload: payload.to_vec(), signature: signature.map(str::to_owned) };
    let answer = client.clone().handle_webhook(request).await;
    answer.map(|answer| answer.into_inner().verdict()).map_err(|status| Fault::from(&status))
}

async fn only_a_good_signature_comes_in_and_each_other_has_its_reason(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let payload = session_event("evt_1", "checkout.session.completed", &order, json!({})).to_string();
    let payload = payload.as_bytes();
    let now = stage.world.now().unix_seconds();
    let good = sign(SECRET, now, payload);
    let v1 = good.split_once("v1=").unwrap().1;
    let mut changed = payload.to_vec();
    changed[0] ^= 1;
    let megabyte = format!("{good},{}", "v1=00,".repeat(170_000));
    let twice = format!("t={now},{good}");
    let only_v0 = format!("t={now},v0={v1}");
    let upside_down = format!("t={now},v1={}", v1.chars().rev().collect::<String>());
    for (body, signature, reason) in [
        (payload, None, "SIGNATURE_MISSING"),
        (payload, Some(""), "SIGNATURE_MISSING"),
        (payload, Some("  "), "SIGNATURE_MISSING"),
        (payload, Some("garbage"), "SIGNATURE_MALFORMED"),
        (payload, Some("t=,v1="), "SIGNATURE_MALFORMED"),
        (payload, Some(&only_v0), "SIGNATURE_MALFORMED"),
        (payload, Some(&twice), "SIGNATURE_MALFORMED"),
        (payload, Some(&megabyte), "SIGNATURE_MALFORMED"),
        (payload, Some(&upside_down), "SIGNATURE_MISMATCH"),
        (payload, Some(&sign("whsec_of_somebody_else", now, payload)), "SIGNATURE_MISMATCH"),
        (&changed, Some(&good), "SIGNATURE_MISMATCH"),
        (&payload[1..], Some(&good), "SIGNATURE_MISMATCH"),
        (payload, Some(&sign(SECRET, now - 301, payload)), "SIGNATURE_TIMESTAMP"),
        (payload, Some(&sign(SECRET, now + 301, payload)), "SIGNATURE_TIMESTAMP"),
    ] {
        let fault = post(&server.client, body, signature).await.unwrap_err();
        assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Malformed, reason));
        assert_eq!(fault.kind.http().as_u16(), 400);
    }
    assert_eq!(count(&stage, "inbox_events").await, 0);
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Open);

    for seconds in [now - 300, now - 299, now + 299, now + 300] {
        let event = session_event(&format!("evt_{seconds}"), "customer.created", &order, json!({}));
        let body = event.to_string().into_bytes();
        let verdict = post(&server.client, &body, Some(&sign(SECRET, seconds, &body))).await.unwrap();
        assert_eq!(verdict, pb::WebhookVerdict::Ignored);
    }
    // While a secret is replaced the provider signs with both.
    let two = format!("t={now},v1={},v1={v1},v0=00", "0".repeat(64));
    assert_eq!(post(&server.client, payload, Some(&two)).await.unwrap(), pb::WebhookVerdict::Accepted);
    stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
}

async fn secrets_are_replaced_without_losing_an_event(backend: Backend) {
    const OLD: &str = "whsec_old_0123456789";
    const NEW: &str = "whsec_new_0123456789";
    let stage = Stage::new(backend).await;
    let both = format!("{OLD},{NEW}");
    let now = stage.world.now().unix_seconds();
    let event = |name: &str| json!({ "id": name, "type": "x", "data": { "object": {} } }).to_string();
    let check = async |secrets: &str, name: &str, secret: &str| {
        let server = stage.start_with(&[("QUIRE_STRIPE_WEBHOOK_SECRETS", secrets)]).await;
        let body = event(name).into_bytes();
        let answer = post(&server.client, &body, Some(&sign(secret, now, &body))).await;
        let first = server.measures(r#"webhook_secret_total{secret="0"} 1"#);
        let second = server.measures(r#"webhook_secret_total{secret="1"} 1"#);
        (answer.map_err(|fault| fault.reason), first, second)
    };
    let taken = Ok(pb::WebhookVerdict::Ignored);
    assert_eq!(check(OLD, "evt_1", OLD).await, (taken.clone(), true, false));
    assert_eq!(check(&both, "evt_2", OLD).await, (taken.clone(), true, false));
    assert_eq!(check(&both, "evt_3", NEW).await, (taken.clone(), false, true));
    assert_eq!(check(NEW, "evt_4", NEW).await, (taken, true, false));
    let refused = Err("SIGNATURE_MISMATCH".to_owned());
    assert_eq!(check(NEW, "evt_5", OLD).await, (refused, false, false));
    assert_eq!(count(&stage, "inbox_events").await, 4);
}

async fn a_body_is_taken_byte_for_byte(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let now = stage.world.now().unix_seconds();
    let signed = async |body: &[u8]| post(&server.client, body, Some(&sign(SECRET, now, body))).await;
    // Odd whitespace, escapes, another order of members, and letters of all kinds.
    let mut bodies = Vec::new();
    for place in 0..3 {
        let order = stage.checkout(&server.client, &format!("document {place}")).await.unwrap();
        let id = order.id.as_str();
        let pi = format!("pi_{place}");
        bodies.push((order.clone(), match place {
            0 => format!(
                "\r\n{{ \"data\" :{{\"object\":\t{{\"metadata\":{{\"order_id\":\"{id}\"}},\"id\":\"{pi}\",\
                \"currency\":\"eur\",\"amount_received\":600}}}},\n\n\"type\":\"payment_intent.succeeded\",\"id\":\"evt_0\"}}  \n"
            ),
            1 => format!(
                "{{\"id\":\"evt_\\u0031\",\"type\":\"payment_intent\\u002Esucceeded\",\"data\":{{\"object\":{{\"id\":\"{pi}\",\
                \"description\":\"\\u00e9\\ud83d\\udc1d\",\"\\u0061mount_received\":600,\"currency\":\"EUR\",\
                \"metadata\":{{\"order_id\":\"{id}\"}}}}}}}}"
            ),
            _ => format!(
                "{{\"id\":\"evt_2\",\"type\":\"payment_intent.succeeded\",\"note\":\"Bienen 🐝 与 пчёлы é\",\
                \"data\":{{\"object\":{{\"id\":\"{pi}\",\"amount_received\":600,\"currency\":\"eur\",\
                \"metadata\":{{\"order_id\":\"{id}\"}}}}}}}}"
            ),
        }));
    }
    for (order, body) in &bodies {
        assert_eq!(signed(body.as_bytes()).await.unwrap(), pb::WebhookVerdict::Accepted, "{body}");
        stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
        // The same event, only written in another way, is not what was signed.
        let rewritten = serde_json::from_str::<serde_json::Value>(body).unwrap().to_string();
        let signature = sign(SECRET, now, body.as_bytes());
        let fault = post(&server.client, rewritten.as_bytes(), Some(&signature)).await.unwrap_err();
        assert_eq!(fault.reason, "SIGNATURE_MISMATCH");
    }
    let kept = texts(&stage, "SELECT payload AS n FROM inbox_events ORDER BY event_id").await;
    assert_eq!(kept, bodies.into_iter().map(|(_, body)| body).collect::<Vec<_>>());

    // A compressed body is signed as it is, and no event.
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    assert_eq!(signed(&gzip).await.unwrap_err().reason, "WEBHOOK_MALFORMED");
    // Two megabytes are too many, whoever signed them and whether anybody did: nothing is computed over them.
    let huge = vec![b' '; 2 * 1024 * 1024];
    assert_eq!(signed(&huge).await.unwrap_err().reason, "WEBHOOK_TOO_LARGE");
    let fault = post(&server.client, &huge, None).await.unwrap_err();
    assert_eq!((fault.reason.as_str(), fault.kind.http().as_u16()), ("WEBHOOK_TOO_LARGE", 413));
    assert!(server.measures(r#"webhook_secret_total{secret="0"} 4"#), "the huge body was verified");
    let largest = "{\"id\":\"evt_large\",\"type\":\"x\",\"data\":{\"object\":{}}}";
    let largest = format!("{largest}{}", " ".repeat(1024 * 1024 - largest.len()));
    assert_eq!(signed(largest.as_bytes()).await.unwrap(), pb::WebhookVerdict::Ignored);
    assert_eq!(count(&stage, "inbox_events").await, 4);
}
