//! Disputes: the buyer's bank takes the money back until it is decided who gets it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::desk::Desk;
use crate::expand::Expand;
use crate::form::Params;
use crate::listing::Cursor;
use crate::record::{Charge, ChargeStatus, Data, Dispute, DisputeStatus};
use crate::refusal::Refusal;
use crate::render;

const EXPANDABLE: [&str; 2] = ["charge", "payment_intent"];
const REASONS: [&str; 14] = [
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
];

/// What a buyer disputes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDispute {
    /// A payment intent (`pi_...`) or a charge (`ch_...`).
    pub payment: String,
    /// Minor units of the charge's currency; if absent, all that was not refunded or disputed yet.
    #[serde(default)]
    pub amount: Option<i64>,
    /// One of Stripe's reasons; `fraudulent` if absent.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is new about an open dispute. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DisputeUpdate {
    /// Whether the bank has got the merchant's evidence and looks at it.
    pub under_review: Option<bool>,
    /// One of Stripe's reasons.
    pub reason: Option<String>,
}

/// Who gets the money in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The merchant.
    Won,
    /// The buyer.
    Lost,
}

/// `GET /v1/disputes/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    params.finish()?;
    let body = render::dispute(find(desk, id)?);
    Ok(expand.apply(desk, body))
}

/// `GET /v1/disputes`, with the filters `payment_intent` and `charge`.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let expand = Expand::take_for_list(&mut params, &EXPANDABLE)?;
    let intent = params.text("payment_intent")?;
    let charge = params.text("charge")?;
    params.finish()?;
    let wanted = |dispute: &Dispute| {
        intent.as_ref().is_none_or(|intent| dispute.intent == *intent)
            && charge.as_ref().is_none_or(|charge| dispute.charge == *charge)
    };
    let page = cursor.page(&desk.data().disputes, "/v1/disputes", wanted, render::dispute)?;
    Ok(expand.apply(desk, page))
}

/// `POST /v1/disputes/{id}/close`: the merchant lets the buyer have the money.
pub(crate) fn concede(desk: &mut Desk<'_>, id: &str, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    close(desk, id, Verdict::Lost)
}

/// The buyer disputes a payment.
pub(crate) fn open(desk: &mut Desk<'_>, new: &NewDispute) -> Result<Value, Refusal> {
    let reason = new.reason.as_deref().unwrap_or("fraudulent");
    known_reason(reason)?;
    let data = desk.data();
    let charge = match data.intents.get(&new.payment) {
        Some(intent) => intent.latest_charge.as_deref().unwrap_or_default(),
        None => &new.payment,
    };
    let charge = data.charges.get(charge).filter(|charge| charge.status == ChargeStatus::Succeeded);
    let charge = charge.ok_or_else(|| Refusal::missing("successful charge", "payment", &new.payment))?;
    let disputed = sum(data, charge, |status| status != DisputeStatus::Won);
    let most = charge.amount - disputed;
    let amount = new.amount.unwrap_or((most - charge.amount_refunded).max(0));
    if !(1..=most).contains(&amount) {
        let message = format!(
            "The amount must be between 1 and {most}, what is not disputed yet; {} was refunded.",
            charge.amount_refunded
        );
        return Err(Refusal::parameter("parameter_invalid", "amount", message));
    }
    let id = charge.id.clone();
    Ok(withdraw(desk, &id, amount, reason))
}

/// The buyer disputes the whole of a successful charge, as with the test card for it.
pub(crate) fn dispute_all(desk: &mut Desk<'_>, charge: &str) {
    if let Some(amount) = desk.data().charges.get(charge).map(|charge| charge.amount) {
        withdraw(desk, charge, amount, "fraudulent");
    }
}

/// Something about an open dispute has changed.
pub(crate) fn update(desk: &mut Desk<'_>, id: &str, update: &DisputeUpdate) -> Result<Value, Refusal> {
    if let Some(reason) = &update.reason {
        known_reason(reason)?;
    }
    let dispute = find_open(desk, id)?;
    match update.under_review {
        Some(true) => dispute.status = DisputeStatus::UnderReview,
        Some(false) => dispute.status = DisputeStatus::NeedsResponse,
        None => {}
    }
    if let Some(reason) = &update.reason {
        dispute.reason.clone_from(reason);
    }
    let body = render::dispute(dispute);
    desk.emit("charge.dispute.updated", body.clone());
    Ok(body)
}

/// An open dispute is decided.
pub(crate) fn close(desk: &mut Desk<'_>, id: &str, verdict: Verdict) -> Result<Value, Refusal> {
    let dispute = find_open(desk, id)?;
    dispute.status = match verdict {
        Verdict::Won => DisputeStatus::Won,
        Verdict::Lost => DisputeStatus::Lost,
    };
    let body = render::dispute(dispute);
    if verdict == Verdict::Won {
        desk.emit("charge.dispute.funds_reinstated", body.clone());
    }
    desk.emit("charge.dispute.closed", body.clone());
    Ok(body)
}

/// The sum of the disputes of a charge that stand in one of these states, in minor units.
pub(crate) fn sum(data: &Data, charge: &Charge, counts: impl Fn(DisputeStatus) -> bool) -> i64 {
    let disputes = data.disputes.rows().iter();
    disputes
        .filter(|dispute| dispute.charge == charge.id && counts(dispute.status))
        .map(|dispute| dispute.amount)
        .sum()
}

fn withdraw(desk: &mut Desk<'_>, charge: &str, amount: i64, reason: &str) -> Value {
    let (id, created) = (desk.id("du"), desk.now);
    let data = desk.edit();
    let charge = data.charges.get_mut(charge).expect("callers have found it, and charges are never removed");
    charge.disputed = true;
    let dispute = Dispute {
        id,
        created,
        charge: charge.id.clone(),
        intent: charge.intent.clone(),
        amount,
        currency: charge.currency.clone(),
        reason: reason.to_owned(),
        status: DisputeStatus::NeedsResponse,
    };
    let body = render::dispute(&dispute);
    data.disputes.push(dispute);
    desk.emit("charge.dispute.created", body.clone());
    desk.emit("charge.dispute.funds_withdrawn", body.clone());
    body
}

fn find<'d>(desk: &'d Desk<'_>, id: &str) -> Result<&'d Dispute, Refusal> {
    desk.data().disputes.get(id).ok_or_else(|| Refusal::missing("dispute", "id", id))
}

fn find_open<'d>(desk: &'d mut Desk<'_>, id: &str) -> Result<&'d mut Dispute, Refusal> {
    if !find(desk, id)?.status.is_open() {
        let message = format!("The dispute {id} is closed.");
        return Err(Refusal::state("unexpected_state", None, message));
    }
    Ok(desk.edit().disputes.get_mut(id).expect("it was found above"))
}

fn known_reason(reason: &str) -> Result<(), Refusal> {
    if REASONS.contains(&reason) {
        return Ok(());
    }
    let message = format!("Invalid reason: must be one of {}.", REASONS.join(", "));
    Err(Refusal::parameter("parameter_invalid", "reason", message))
}
