//! Disputes, and what can still be refunded meanwhile and after.

use quire_sandbox::{DisputeUpdate, NewDispute, Verdict};
use serde_json::{Value, json};

use crate::shop::{Shop, id_of, ids};

fn about(payment: &str, amount: Option<i64>) -> NewDispute {
    NewDispute { payment: payment.to_owned(), amount, reason: None }
}

async fn open(shop: &Shop, payment: &str, amount: Option<i64>) -> String {
    id_of(&shop.sandbox.open_dispute(&about(payment, amount)).await.unwrap())
}

async fn available(shop: &Shop) -> Value {
    shop.get("/v1/balance").await.1["available"][0]["amount"].clone()
}

#[tokio::test]
async fn a_dispute_takes_the_money_and_a_won_one_brings_it_back() {
    let shop = Shop::open().await;
    let (intent, charge) = shop.charged("pm_card_visa").await;
    let before = shop.kinds().await.len();
    let dispute = shop.sandbox.open_dispute(&about(&intent, None)).await.unwrap();
    let id = id_of(&dispute);
    for (name, value) in [
        ("object", json!("dispute")),
        ("charge", json!(charge)),
        ("payment_intent", json!(intent)),
        ("amount", json!(1250)),
        ("currency", json!("eur")),
        ("reason", json!("fraudulent")),
        ("status", json!("needs_response")),
    ] {
        assert_eq!(dispute[name], value, "{name}");
    }
    assert_eq!(shop.get(&format!("/v1/disputes/{id}")).await.1, dispute);
    assert_eq!(shop.get(&format!("/v1/charges/{charge}")).await.1["disputed"], true);
    assert_eq!(available(&shop).await, 0);

    let update = DisputeUpdate { under_review: Some(true), reason: Some("general".to_owned()) };
    let updated = shop.sandbox.update_dispute(&id, &update).await.unwrap();
    assert_eq!((&updated["status"], &updated["reason"]), (&json!("under_review"), &json!("general")));
    let won = shop.sandbox.close_dispute(&id, Verdict::Won).await.unwrap();
    assert_eq!(won["status"], "won");
    assert_eq!(available(&shop).await, 1250);
    assert_eq!(
        shop.kinds().await[before..],
        [
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.updated",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed"
        ]
    );
    assert_eq!(shop.sandbox.close_dispute(&id, Verdict::Lost).await.unwrap_err().code, "unexpected_state");
    assert!(shop.sandbox.update_dispute(&id, &update).await.is_err());
    shop.make("/v1/refunds", &format!("payment_intent={intent}")).await;
}

#[tokio::test]
async fn nothing_is_refunded_while_a_dispute_is_open_or_after_all_is_lost() {
    let shop = Shop::open().await;
    let (intent, charge) = shop.charged("pm_card_visa").await;
    let dispute = open(&shop, &charge, None).await;
    for _ in 0..2 {
        let (status, error) = shop.refused("/v1/refunds", &format!("payment_intent={intent}&amount=1")).await;
        assert_eq!((status.as_u16(), &error["code"]), (400, &json!("charge_disputed")));
        // The second time it is lost.
        let _ = shop.sandbox.close_dispute(&dispute, Verdict::Lost).await;
    }
    let kinds = shop.kinds().await;
    assert_eq!(kinds.last().unwrap(), "charge.dispute.closed");
    assert!(!kinds.contains(&"charge.dispute.funds_reinstated".to_owned()));
    assert_eq!(available(&shop).await, 0);
}

#[tokio::test]
async fn after_a_part_is_lost_the_rest_can_be_refunded() {
    let shop = Shop::open().await;
    let (intent, charge) = shop.charged("pm_card_visa").await;
    shop.make("/v1/refunds", &format!("charge={charge}&amount=250")).await;
    let dispute = open(&shop, &intent, Some(400)).await;
    let second = shop.sandbox.open_dispute(&about(&intent, Some(851))).await.unwrap_err();
    assert_eq!(second.code, "parameter_invalid");
    assert!(second.message.contains("between 1 and 850"), "{}", second.message);
    let conceded = shop.make(&format!("/v1/disputes/{dispute}/close"), "").await;
    assert_eq!(conceded["status"], "lost");
    assert_eq!(available(&shop).await, 600);
    let (_, error) = shop.refused("/v1/refunds", &format!("charge={charge}&amount=601")).await;
    assert_eq!(error["code"], "amount_too_large");
    let rest = shop.make("/v1/refunds", &format!("charge={charge}")).await;
    assert_eq!(rest["amount"], 600);
    assert_eq!(available(&shop).await, 0);
}

#[tokio::test]
async fn disputes_are_listed_by_payment() {
    let shop = Shop::open().await;
    let (first, first_charge) = shop.charged("pm_card_visa").await;
    let (second, _) = shop.charged("pm_card_createDispute").await;
    let mine = open(&shop, &first, Some(1)).await;
    let all = ids(&shop.get("/v1/disputes").await.1);
    // The test card for it has disputed the second payment already.
    assert_eq!((all.len(), &all[0]), (2, &mine));
    for (filter, found) in [
        (format!("payment_intent={first}"), &all[..1]),
        (format!("charge={first_charge}"), &all[..1]),
        (format!("payment_intent={second}"), &all[1..]),
        ("charge=ch_none".to_owned(), &[]),
    ] {
        assert_eq!(ids(&shop.get(&format!("/v1/disputes?{filter}")).await.1), found, "{filter}");
    }
    let (_, whole) = shop.get(&format!("/v1/disputes/{mine}?expand[]=charge&expand[]=payment_intent")).await;
    assert_eq!((id_of(&whole["charge"]), id_of(&whole["payment_intent"])), (first_charge, first));
}

#[tokio::test]
async fn only_a_successful_payment_can_be_disputed_and_mistakes_are_explained() {
    let shop = Shop::open().await;
    let unpaid = id_of(&shop.intent().await);
    let (paid, _) = shop.charged("pm_card_visa").await;
    for (body, part) in [
        (json!({ "payment": unpaid }), "No such successful charge"),
        (json!({ "payment": "ch_none" }), "No such successful charge"),
        (json!({ "payment": paid, "reason": "mood" }), "must be one of bank_cannot_process"),
        (json!({ "payment": paid, "amount": 0 }), "between 1 and 1250"),
        (
            json!({ "payment": paid, "sum": 1 }),
            "unknown field `sum`, expected one of `payment`, `amount`, `reason`",
        ),
        (json!({}), "missing field `payment`"),
        (json!({ "payment": paid, "amount": "1" }), "i64 is expected"),
    ] {
        let (status, answer) = shop.control("/sandbox/disputes", body).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status.is_client_error() && message.contains(part), "{status} {message}");
    }
    assert!(ids(&shop.get("/v1/disputes").await.1).is_empty());
    let (status, dispute) = shop
        .control("/sandbox/disputes", json!({ "payment": paid, "amount": 5, "reason": "duplicate" }))
        .await;
    assert_eq!((status.as_u16(), &dispute["amount"]), (200, &json!(5)));
    let path = format!("/sandbox/disputes/{}", id_of(&dispute));
    let (_, updated) = shop.control(&format!("{path}/update"), json!({ "under_review": true })).await;
    assert_eq!((&updated["status"], &updated["reason"]), (&json!("under_review"), &json!("duplicate")));
    assert_eq!(shop.control(&format!("{path}/win"), json!({})).await.1["status"], "won");
    assert_eq!(shop.control(&format!("{path}/lose"), json!({})).await.0, 400);
}
