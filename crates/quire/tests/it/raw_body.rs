//! What the provider signed is what is stored: the gateway passes the bytes on as they are.

use std::collections::BTreeMap;

use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_proto::payment::v1::{HandleWebhookRequest, WebhookVerdict};
use quire_serve::client::channel;
use quire_testkit::Backend;
use sha2::{Digest, Sha256};

use crate::customer::text;
use crate::provider::{Told, signed};
use crate::system::System;

quire_testkit::on_both_databases!(a_body_reaches_the_inbox_byte_for_byte);

/// What no JSON library writes by itself: spaces, escapes of plain letters, a number with an exponent, text that is
/// not ASCII, carriage returns, and a member that comes twice.
fn odd(event: &str) -> Vec<u8> {
    format!(
        "\r\n {{\t\"type\" :\"invoice.p\\u0061id\",\r\n\"id\":\"{event}\", \"created\": 1700000000,\"note\":\"öß…\\/\", \
         \"note\" : \"\\ud83d\\udcd6\", \"data\":{{ \"object\":{{\"id\":\"in_1\"}} }}\n}}\t \n"
    )
    .into_bytes()
}

/// A34.
async fn a_body_reaches_the_inbox_byte_for_byte(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    let paid = Told { event: "evt_paid", kind: "checkout.session.completed", order: &order }.body();
    let mut sent: BTreeMap<String, String> = BTreeMap::new();
    let mut note =
        |event: &str, body: &[u8]| sent.insert(event.to_owned(), hex::encode(Sha256::digest(body)));

    for (event, body, verdict) in
        [("evt_odd", odd("evt_odd"), "ignored"), ("evt_paid", paid.clone(), "accepted")]
    {
        note(event, &body);
        let answer = system.client.webhook(body.clone(), Some(&signed(&body))).await.with_status(200);
        assert_eq!(answer.json()["verdict"], verdict);
    }
    // The same without the gateway.
    let body = odd("evt_direct");
    note("evt_direct", &body);
    let signature = Some(signed(&body));
    let mut payment = PaymentServiceClient::new(channel(&system.embedded.urls.payment).unwrap());
    let answer = payment.handle_webhook(HandleWebhookRequest { payload: body, signature }).await.unwrap();
    assert_eq!(answer.get_ref().verdict(), WebhookVerdict::Ignored);

    let books = system.books().await;
    assert_eq!(books.events().await, sent);
    let job = ada.job_of(&text(&order["id"])).await;
    assert_eq!(ada.follow(&job, 0).await.last().unwrap().kind, "completed");
    assert_eq!(books.jobs().await.len(), 1);
    system.stop().await;
}
