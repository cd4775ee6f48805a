//! How a payment goes: from its confirmation to the money, the decline or the wait, with every event on the way.

use serde_json::Value;

use crate::bank::Decision;
use crate::desk::Desk;
use crate::disputes;
use crate::methods::{Course, Failure, Method};
use crate::record::{Charge, ChargeStatus, Intent, IntentStatus, SessionStatus};
use crate::refusal::Refusal;
use crate::render;

/// Tries to pay an intent, which the caller has found and which may be confirmed.
pub(crate) fn attempt(desk: &mut Desk<'_>, intent: &str, method: Method) -> Result<(), Failure> {
    match method.course() {
        Course::Succeeds => succeed(desk, intent, method),
        Course::Fails(failure) => {
            charge(desk, intent, method, ChargeStatus::Failed, Some(failure));
            fail(desk, intent, failure);
            return Err(failure);
        }
        Course::Asks => {
            let body = change(desk, intent, |intent| {
                intent.method = Some(method);
                intent.failure = None;
                intent.status = IntentStatus::RequiresAction;
            });
            desk.emit("payment_intent.requires_action", body);
        }
        Course::Waits => {
            charge(desk, intent, method, ChargeStatus::Pending, None);
            let body = change(desk, intent, |intent| {
                intent.method = Some(method);
                intent.failure = None;
                intent.status = IntentStatus::Processing;
            });
            desk.emit("payment_intent.processing", body);
            complete_session(desk, intent, true, "checkout.session.completed");
        }
    }
    Ok(())
}

/// Decides a payment that waits for the buyer's authentication or for the bank.
pub(crate) fn decide(desk: &mut Desk<'_>, id: &str, decision: Decision) -> Result<Value, Refusal> {
    let intent = desk.data().intents.get(id);
    let intent = intent.ok_or_else(|| Refusal::missing("payment_intent", "id", id))?;
    let (status, method) = (intent.status, intent.method.unwrap_or_default());
    match (status, decision) {
        (IntentStatus::RequiresAction, Decision::Succeed) => succeed(desk, id, method),
        // The bank was not asked for the money, so there is no charge.
        (IntentStatus::RequiresAction, Decision::Fail) => fail(desk, id, Failure::Authentication),
        (IntentStatus::Processing, Decision::Succeed) => arrive(desk, id),
        (IntentStatus::Processing, Decision::Fail) => bounce(desk, id),
        _ => {
            let message = format!(
                "Only a payment with status requires_action or processing can be decided: {id} is not."
            );
            return Err(Refusal::state("unexpected_state", None, message));
        }
    }
    Ok(change(desk, id, |_| ()))
}

/// Changes an intent that is known to exist, and shows what it has become.
pub(crate) fn change(desk: &mut Desk<'_>, id: &str, change: impl FnOnce(&mut Intent)) -> Value {
    let public_url = desk.public_url;
    let intent =
        desk.edit().intents.get_mut(id).expect("callers have found it, and intents are never removed");
    change(intent);
    render::intent(intent, public_url)
}

fn succeed(desk: &mut Desk<'_>, intent: &str, method: Method) {
    let charge = charge(desk, intent, method, ChargeStatus::Succeeded, None);
    let body = change(desk, intent, |intent| {
        intent.method = Some(method);
        intent.failure = None;
        intent.status = IntentStatus::Succeeded;
    });
    desk.emit("payment_intent.succeeded", body);
    complete_session(desk, intent, false, "checkout.session.completed");
    if method == Method::Disputed {
        disputes::dispute_all(desk, &charge);
    }
}

/// The bank has sent the money.
fn arrive(desk: &mut Desk<'_>, intent: &str) {
    end_charge(desk, intent, ChargeStatus::Succeeded, None);
    let body = change(desk, intent, |intent| intent.status = IntentStatus::Succeeded);
    desk.emit("payment_intent.succeeded", body);
    complete_session(desk, intent, false, "checkout.session.async_payment_succeeded");
}

/// The bank sends no money.
fn bounce(desk: &mut Desk<'_>, intent: &str) {
    end_charge(desk, intent, ChargeStatus::Failed, Some(Failure::BankAccount));
    fail(desk, intent, Failure::BankAccount);
    complete_session(desk, intent, true, "checkout.session.async_payment_failed");
}

fn fail(desk: &mut Desk<'_>, intent: &str, failure: Failure) {
    let body = change(desk, intent, |intent| {
        intent.method = None;
        intent.failure = Some(failure);
        intent.status = IntentStatus::RequiresPaymentMethod;
    });
    desk.emit("payment_intent.payment_failed", body);
}

/// Ends the session that the intent belongs to, if it belongs to one.
fn complete_session(desk: &mut Desk<'_>, intent: &str, unpaid: bool, event: &str) {
    let public_url = desk.public_url;
    let Some(id) = desk.data().intents.get(intent).and_then(|intent| intent.session.clone()) else {
        return;
    };
    let Some(session) = desk.edit().sessions.get_mut(&id) else { return };
    session.status = SessionStatus::Complete;
    session.unpaid = unpaid;
    let body = render::session(session, public_url);
    desk.emit(event, body);
}

/// Charges the buyer, and tells the id of the charge.
fn charge(
    desk: &mut Desk<'_>,
    intent: &str,
    method: Method,
    status: ChargeStatus,
    failure: Option<Failure>,
) -> String {
    let (id, created) = (desk.id("ch"), desk.now);
    let data = desk.edit();
    let intent = data.intents.get_mut(intent).expect("callers have found it, and intents are never removed");
    intent.latest_charge = Some(id.clone());
    let charge = Charge {
        id: id.clone(),
        created,
        intent: intent.id.clone(),
        amount: intent.amount,
        amount_refunded: 0,
        currency: intent.currency.clone(),
        description: intent.description.clone(),
        metadata: intent.metadata.clone(),
        status,
        failure,
        method,
        disputed: false,
    };
    let body = render::charge(&charge);
    data.charges.push(charge);
    desk.emit(event_of(status), body);
    id
}

/// Ends the pending charge of an intent.
fn end_charge(desk: &mut Desk<'_>, intent: &str, status: ChargeStatus, failure: Option<Failure>) {
    let latest = desk.data().intents.get(intent).and_then(|intent| intent.latest_charge.clone());
    let Some(charge) = latest.and_then(|id| desk.edit().charges.get_mut(&id)) else { return };
    charge.status = status;
    charge.failure = failure;
    let body = render::charge(charge);
    desk.emit(event_of(status), body);
}

fn event_of(status: ChargeStatus) -> &'static str {
    match status {
        ChargeStatus::Pending => "charge.pending",
        ChargeStatus::Succeeded => "charge.succeeded",
        ChargeStatus::Failed => "charge.failed",
    }
}
