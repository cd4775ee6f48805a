//! Events as the payment provider would send them.

use quire_clock::World;
use quire_sandbox::signature;
use serde_json::{Value, json};

use crate::customer::text;
use crate::system::WEBHOOK_SECRET;

/// An event about the payment of an order, in the provider's own words.
pub struct Told<'a> {
    pub event: &'a str,
    pub kind: &'a str,
    pub order: &'a Value,
}

impl Told<'_> {
    pub fn body(&self) -> Vec<u8> {
        let order_id = text(&self.order["id"]);
        let session = text(&self.order["checkout_url"]).rsplit('/').next().unwrap().to_owned();
        let payment = format!("pi_{}", order_id.replace('-', ""));
        let amount = &self.order["total"]["amount_minor"];
        let metadata = json!({ "order_id": order_id });
        let object = match self.kind {
            "charge.succeeded" => json!({
                "id": "ch_test", "object": "charge", "amount": amount, "currency": "eur", "paid": true,
                "payment_intent": payment, "metadata": metadata, "status": "succeeded",
            }),
            "payment_intent.succeeded" => json!({
                "id": payment, "object": "payment_intent", "amount": amount, "amount_received": amount,
                "currency": "eur", "metadata": metadata, "status": "succeeded",
            }),
            _ => json!({
                "id": session, "object": "checkout.session", "amount_total": amount, "currency": "eur",
                "payment_intent": payment, "payment_status": "paid", "status": "complete", "metadata": metadata,
            }),
        };
        let event = json!({
            "id": self.event, "object": "event", "type": self.kind, "livemode": false,
            "created": now(), "data": { "object": object },
        });
        // Bytes that no JSON library writes by itself: they must come through as they are.
        format!("{event:#}\n\t ").into_bytes()
    }
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    World::system().now().unix_seconds()
}

/// The signature header of a body that is sent now.
pub fn signed(body: &[u8]) -> String {
    signature::sign(WEBHOOK_SECRET, now(), body)
}
