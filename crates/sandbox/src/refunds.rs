//! Refunds, never more in sum than was charged.

use serde_json::Value;

use crate::bank::{Decision, RefundMode};
use crate::desk::Desk;
use crate::expand::Expand;
use crate::form::Params;
use crate::listing::Cursor;
use crate::methods::Method;
use crate::record::{Charge, ChargeStatus, DisputeStatus, Refund, RefundStatus};
use crate::refusal::Refusal;
use crate::{currency, disputes, metadata, render};

const EXPANDABLE: [&str; 2] = ["charge", "payment_intent"];
const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

/// `POST /v1/refunds`, of a payment intent or a charge. Without an amount, all that is left is refunded.
pub(crate) fn create(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let intent = params.text("payment_intent")?;
    let charge = params.text("charge")?;
    let amount = params.integer("amount")?;
    let reason = params.text("reason")?;
    let metadata = metadata::take(&mut params)?;
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

    let charge = charge_of(desk, intent.as_deref(), charge.as_deref())?;
    let left = left_of(desk, charge)?;
    let amount = amount.unwrap_or(left);
    currency::check(&charge.currency, amount, "amount")?;
    if amount > left {
        let message =
            format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).");
        return Err(Refusal::state("amount_too_large", Some("amount"), message));
    }

    let refund = Refund {
        id: desk.id("re"),
        created: desk.now,
        intent: charge.intent.clone(),
        charge: charge.id.clone(),
        amount,
        currency: charge.currency.clone(),
        reason,
        metadata,
        status: first_status(desk.bank.refunds, charge.method),
    };
    let body = render::refund(&refund);
    let data = desk.edit();
    let charge = data.charges.get_mut(&refund.charge).expect("it was found above");
    charge.amount_refunded += amount;
    let charge_body = render::charge(charge);
    data.refunds.push(refund);
    desk.emit("refund.created", body.clone());
    desk.emit("charge.refunded", charge_body);
    Ok(expand.apply(desk, body))
}

/// `GET /v1/refunds/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    params.finish()?;
    let body = render::refund(find(desk, id)?);
    Ok(expand.apply(desk, body))
}

/// `GET /v1/refunds`, with the filters `payment_intent` and `charge`.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let expand = Expand::take_for_list(&mut params, &EXPANDABLE)?;
    let intent = params.text("payment_intent")?;
    let charge = params.text("charge")?;
    params.finish()?;
    let wanted = |refund: &Refund| {
        intent.as_ref().is_none_or(|intent| refund.intent == *intent)
            && charge.as_ref().is_none_or(|charge| refund.charge == *charge)
    };
    let page = cursor.page(&desk.data().refunds, "/v1/refunds", wanted, render::refund)?;
    Ok(expand.apply(desk, page))
}

/// `POST /v1/refunds/{id}`: changes the metadata.
pub(crate) fn update(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let changes = metadata::Changes::take(&mut params)?;
    let metadata = changes.applied_to(&find(desk, id)?.metadata, &params)?;
    params.finish()?;
    let body = change(desk, id, |refund| refund.metadata = metadata);
    tell_update(desk, &body);
    Ok(expand.apply(desk, body))
}

/// `POST /v1/refunds/{id}/cancel`, while it is pending.
pub(crate) fn cancel(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    params.finish()?;
    if find(desk, id)?.status != RefundStatus::Pending {
        return Err(unexpected("Only a pending refund can be canceled.", id));
    }
    give_back(desk, id);
    let body = change(desk, id, |refund| refund.status = RefundStatus::Canceled);
    tell_update(desk, &body);
    Ok(expand.apply(desk, body))
}

/// A pending refund succeeds or fails, or one that seemed to have succeeded fails after all.
pub(crate) fn decide(desk: &mut Desk<'_>, id: &str, decision: Decision) -> Result<Value, Refusal> {
    let status = find(desk, id)?.status;
    match (status, decision) {
        (RefundStatus::Pending, Decision::Succeed) => {
            let body = change(desk, id, |refund| refund.status = RefundStatus::Succeeded);
            tell_update(desk, &body);
            Ok(body)
        }
        (RefundStatus::Pending | RefundStatus::Succeeded, Decision::Fail) => {
            give_back(desk, id);
            let body = change(desk, id, |refund| refund.status = RefundStatus::Failed);
            desk.emit("refund.failed", body.clone());
            tell_update(desk, &body);
            Ok(body)
        }
        _ => Err(unexpected(
            "Only a pending refund can succeed, and only a pending or succeeded one fail.",
            id,
        )),
    }
}

/// The successful charge that is meant.
fn charge_of<'d>(
    desk: &'d Desk<'_>,
    intent: Option<&str>,
    charge: Option<&str>,
) -> Result<&'d Charge, Refusal> {
    let data = desk.data();
    let charge = match (intent, charge) {
        (None, None) => {
            let message = "One of the following params should be provided: payment_intent or charge.";
            return Err(Refusal::parameter("parameter_missing", "payment_intent", message));
        }
        (_, Some(id)) => data.charges.get(id).ok_or_else(|| Refusal::missing("charge", "charge", id))?,
        (Some(id), None) => {
            let intent = data.intents.get(id);
            let intent = intent.ok_or_else(|| Refusal::missing("payment_intent", "payment_intent", id))?;
            let charge = intent.latest_charge.as_ref().and_then(|charge| data.charges.get(charge));
            charge.filter(|charge| charge.status == ChargeStatus::Succeeded).ok_or_else(|| {
                let message =
                    format!("This PaymentIntent ({id}) does not have a successful charge to refund.");
                Refusal::state("payment_intent_unexpected_state", Some("payment_intent"), message)
            })?
        }
    };
    if intent.is_some_and(|intent| intent != charge.intent) {
        let message = "The charge does not belong to the payment intent.";
        return Err(Refusal::parameter("parameter_invalid", "charge", message));
    }
    if charge.status != ChargeStatus::Succeeded {
        let message = format!("Charge {} has not succeeded: there is nothing to refund.", charge.id);
        return Err(Refusal::state("charge_not_refundable", Some("charge"), message));
    }
    Ok(charge)
}

/// What can still be refunded of a charge, in minor units; at least 1.
fn left_of(desk: &Desk<'_>, charge: &Charge) -> Result<i64, Refusal> {
    let open = disputes::sum(desk.data(), charge, DisputeStatus::is_open);
    let lost = disputes::sum(desk.data(), charge, |status| status == DisputeStatus::Lost);
    let left = charge.amount - charge.amount_refunded - lost;
    if open > 0 || (left < 1 && lost > 0) {
        let message = format!("Charge {} has been charged back; cannot issue a refund.", charge.id);
        return Err(Refusal::state("charge_disputed", None, message));
    }
    if left < 1 {
        let message = format!("Charge {} has already been refunded.", charge.id);
        return Err(Refusal::state("charge_already_refunded", None, message));
    }
    Ok(left)
}

fn first_status(mode: RefundMode, method: Method) -> RefundStatus {
    match (method, mode) {
        (Method::RefundFails, _) => RefundStatus::Succeeded,
        (Method::RefundPending, _) | (_, RefundMode::Pending) => RefundStatus::Pending,
        (_, RefundMode::Immediate) => RefundStatus::Succeeded,
    }
}

/// The merchant has the money of a refund again.
fn give_back(desk: &mut Desk<'_>, id: &str) {
    let data = desk.edit();
    let refund = data.refunds.get(id).map(|refund| (refund.charge.clone(), refund.amount));
    if let Some((charge, amount)) = refund
        && let Some(charge) = data.charges.get_mut(&charge)
    {
        charge.amount_refunded -= amount;
    }
}

fn tell_update(desk: &mut Desk<'_>, body: &Value) {
    desk.emit("refund.updated", body.clone());
    desk.emit("charge.refund.updated", body.clone());
}

fn change(desk: &mut Desk<'_>, id: &str, change: impl FnOnce(&mut Refund)) -> Value {
    let refund =
        desk.edit().refunds.get_mut(id).expect("callers have found it, and refunds are never removed");
    change(refund);
    render::refund(refund)
}

fn find<'d>(desk: &'d Desk<'_>, id: &str) -> Result<&'d Refund, Refusal> {
    desk.data().refunds.get(id).ok_or_else(|| Refusal::missing("refund", "id", id))
}

fn unexpected(message: &str, id: &str) -> Refusal {
    Refusal::state("unexpected_state", None, format!("{message} ({id})"))
}
