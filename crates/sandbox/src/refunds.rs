//! Refunds, never more in sum than was charged.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::form::Params;
use crate::record::Refund;
use crate::refusal::Refusal;
use crate::render;

const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

/// `POST /v1/refunds`. Without an amount, all that is left is refunded.
pub(crate) fn create(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let intent_id = params.required_text("payment_intent")?;
    let amount = params.integer("amount")?;
    let reason = params.text("reason")?;
    let metadata = params.metadata()?;
    params.finish()?;
    if amount.is_some_and(|amount| amount < 1) {
        return Err(Refusal::parameter(
            "parameter_invalid_integer",
            "amount",
            "The amount must be at least 1.",
        ));
    }
    if reason.as_ref().is_some_and(|reason| !REASONS.contains(&reason.as_str())) {
        return Err(Refusal::parameter(
            "parameter_invalid",
            "reason",
            "Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer.",
        ));
    }

    let intent = desk.data().intents.get(&intent_id);
    let intent = intent.ok_or_else(|| Refusal::missing("payment_intent", "payment_intent", &intent_id))?;
    let charge = intent.charge.as_ref().and_then(|id| desk.data().charges.get(id)).ok_or_else(|| {
        Refusal::state(
            "payment_intent_unexpected_state",
            Some("payment_intent"),
            format!("This PaymentIntent ({intent_id}) does not have a successful charge to refund."),
        )
    })?;
    let left = charge.amount - charge.amount_refunded;
    if left == 0 {
        let message = format!("Charge {} has already been refunded.", charge.id);
        return Err(Refusal::state("charge_already_refunded", None, message));
    }
    let amount = amount.unwrap_or(left);
    if amount > left {
        let message =
            format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).");
        return Err(Refusal::state("amount_too_large", Some("amount"), message));
    }

    let refund = Refund {
        id: desk.id("re"),
        created: desk.now,
        intent: intent_id,
        charge: charge.id.clone(),
        amount,
        currency: charge.currency.clone(),
        reason,
        metadata,
    };
    let body = render::refund(&refund);
    let data = desk.edit();
    let charge = data.charges.get_mut(&refund.charge).expect("it was found above");
    charge.amount_refunded += amount;
    let charge_body = render::charge(charge);
    data.refunds.push(refund);
    desk.emit("refund.created", body.clone());
    desk.emit("charge.refunded", charge_body);
    Ok(body)
}

/// `GET /v1/refunds/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    desk.data().refunds.get(id).map(render::refund).ok_or_else(|| Refusal::missing("refund", "id", id))
}

/// `GET /v1/balance`: what was charged less what was refunded, by currency.
pub(crate) fn balance(desk: &mut Desk<'_>, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    let mut sums: BTreeMap<&str, i64> = BTreeMap::from([("usd", 0)]);
    for charge in desk.data().charges.rows() {
        *sums.entry(&charge.currency).or_default() += charge.amount - charge.amount_refunded;
    }
    let available: Vec<Value> = sums
        .into_iter()
        .map(|(currency, amount)| {
            json!({ "amount": amount, "currency": currency, "source_types": { "card": amount } })
        })
        .collect();
    Ok(json!({ "object": "balance", "available": available, "pending": [], "livemode": false }))
}
