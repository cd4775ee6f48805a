//! Payment intents: made by the merchant, confirmed by the merchant or by the buyer's browser.

use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::checkout::web_address;
use crate::desk::Desk;
use crate::expand::Expand;
use crate::form::Params;
use crate::listing::Cursor;
use crate::methods::{self, Method};
use crate::record::{Intent, IntentStatus};
use crate::refusal::Refusal;
use crate::{currency, metadata, payments, render};

const EXPANDABLE: [&str; 1] = ["latest_charge"];
const CANCELLATION_REASONS: [&str; 4] = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"];

/// `POST /v1/payment_intents`. With `confirm=true` it is confirmed at once.
pub(crate) fn create(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let amount = params.required_integer("amount")?;
    let currency = currency::parse(&params.required_text("currency")?, "currency")?;
    currency::check(&currency, amount, "amount")?;
    let method_types = accepted_types(&mut params, &currency)?;
    let method = Method::take(&mut params)?;
    if let Some(method) = method {
        accepted(&method_types, method, &currency)?;
    }
    let confirm = params.boolean("confirm")?.unwrap_or(false);
    if confirm && method.is_none() {
        return Err(params.absent("payment_method"));
    }
    for (name, only) in [("capture_method", "automatic"), ("confirmation_method", "automatic")] {
        if params.text(name)?.is_some_and(|value| value != only) {
            let message = format!("The sandbox takes only {name}={only}.");
            return Err(Refusal::parameter("parameter_invalid", name, message));
        }
    }
    let return_url = return_url(&mut params)?;
    if return_url.is_some() && !confirm {
        let message = "A return_url can only be given when confirm=true.";
        return Err(Refusal::parameter("parameter_invalid", "return_url", message));
    }
    let description = params.text("description")?;
    let metadata = metadata::take(&mut params)?;
    params.finish()?;

    let id = desk.id("pi");
    let intent = Intent {
        created: desk.now,
        amount,
        currency,
        description,
        metadata,
        status: status_before_confirmation(method),
        latest_charge: None,
        failure: None,
        method,
        method_types,
        client_secret: Some(desk.id(&format!("{id}_secret"))),
        return_url,
        canceled_at: None,
        cancellation_reason: None,
        session: None,
        declined: false,
        id: id.clone(),
    };
    let body = render::intent(&intent, desk.public_url);
    desk.edit().intents.push(intent);
    desk.emit("payment_intent.created", body);
    if let Some(method) = method.filter(|_| confirm) {
        pay(desk, &id, method)?;
    }
    show(desk, &id, &expand)
}

/// `GET /v1/payment_intents/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let secret = params.text("client_secret")?;
    params.finish()?;
    authorize(desk, id, secret.as_deref())?;
    show(desk, id, &expand)
}

/// `GET /v1/payment_intents`.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let expand = Expand::take_for_list(&mut params, &EXPANDABLE)?;
    params.finish()?;
    let render = |intent: &Intent| render::intent(intent, desk.public_url);
    let page = cursor.page(&desk.data().intents, "/v1/payment_intents", |_| true, render)?;
    Ok(expand.apply(desk, page))
}

/// `POST /v1/payment_intents/{id}`: changes the description and the metadata.
pub(crate) fn update(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let cleared = params.take_cleared("description");
    let description = params.text("description")?;
    let changes = metadata::Changes::take(&mut params)?;
    let metadata = changes.applied_to(&find(desk, id)?.metadata, &params)?;
    params.finish()?;
    payments::change(desk, id, |intent| {
        intent.metadata = metadata;
        if cleared || description.is_some() {
            intent.description = description;
        }
    });
    show(desk, id, &expand)
}

/// `POST /v1/payment_intents/{id}/confirm`.
pub(crate) fn confirm(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let secret = params.text("client_secret")?;
    let given = Method::take(&mut params)?;
    let return_url = return_url(&mut params)?;
    params.finish()?;
    authorize(desk, id, secret.as_deref())?;
    let intent = find(desk, id)?;
    if intent.session.is_some() {
        let message = "You cannot confirm a PaymentIntent that belongs to a Checkout Session.";
        return Err(unexpected(desk, intent, message));
    }
    let hindrance = match intent.status {
        IntentStatus::RequiresPaymentMethod
        | IntentStatus::RequiresConfirmation
        | IntentStatus::RequiresAction => None,
        IntentStatus::Processing => Some("it is being processed."),
        IntentStatus::Succeeded => Some("it has already succeeded after being previously confirmed."),
        IntentStatus::Canceled => Some("it was canceled."),
    };
    if let Some(hindrance) = hindrance {
        let message = format!("You cannot confirm this PaymentIntent because {hindrance}");
        return Err(unexpected(desk, intent, &message));
    }
    let Some(method) = given.or(intent.method) else {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method. Confirm it again \
                       directly with a payment method.";
        return Err(unexpected(desk, intent, message));
    };
    accepted(&intent.method_types, method, &intent.currency)?;
    if return_url.is_some() {
        payments::change(desk, id, |intent| intent.return_url = return_url);
    }
    pay(desk, id, method)?;
    show(desk, id, &expand)
}

/// `POST /v1/payment_intents/{id}/cancel`.
pub(crate) fn cancel(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let reason = params.text("cancellation_reason")?;
    params.finish()?;
    if reason.as_ref().is_some_and(|reason| !CANCELLATION_REASONS.contains(&reason.as_str())) {
        let message =
            format!("Invalid cancellation_reason: must be one of {}.", CANCELLATION_REASONS.join(", "));
        return Err(Refusal::parameter("parameter_invalid", "cancellation_reason", message));
    }
    let intent = find(desk, id)?;
    if intent.session.is_some() {
        let message = "You cannot cancel the PaymentIntent for a Checkout Session. Expire the Checkout Session \
                       instead.";
        return Err(unexpected(desk, intent, message));
    }
    if matches!(intent.status, IntentStatus::Processing | IntentStatus::Succeeded | IntentStatus::Canceled) {
        let message = "You cannot cancel this PaymentIntent because of its status. Only a PaymentIntent with one of \
                       the following statuses may be canceled: requires_payment_method, requires_confirmation, \
                       requires_action.";
        return Err(unexpected(desk, intent, message));
    }
    let now = desk.now;
    let body = payments::change(desk, id, |intent| {
        intent.status = IntentStatus::Canceled;
        intent.canceled_at = Some(now);
        intent.cancellation_reason = reason;
    });
    desk.emit("payment_intent.canceled", body);
    show(desk, id, &expand)
}

/// Whether this is the client secret of the intent, compared in constant time.
pub(crate) fn has_secret(intent: &Intent, presented: &str) -> bool {
    let secret = intent.client_secret.as_deref().unwrap_or_default();
    !secret.is_empty() && bool::from(secret.as_bytes().ct_eq(presented.as_bytes()))
}

/// Tries to pay, and tells the decline with the intent as it is after it.
fn pay(desk: &mut Desk<'_>, id: &str, method: Method) -> Result<(), Refusal> {
    let attempt = payments::attempt(desk, id, method);
    attempt.map_err(|failure| match find(desk, id) {
        Ok(intent) => Refusal::payment(failure, visible(desk, intent)),
        Err(refusal) => refusal,
    })
}

/// A browser must know the client secret. To one that does not, the intent does not exist.
fn authorize(desk: &Desk<'_>, id: &str, secret: Option<&str>) -> Result<(), Refusal> {
    if desk.by_browser() && secret.is_none() {
        let message = "Missing required param: client_secret.";
        return Err(Refusal::parameter("parameter_missing", "client_secret", message));
    }
    let intent = find(desk, id)?;
    match secret {
        Some(secret) if !has_secret(intent, secret) => Err(unknown(id)),
        _ => Ok(()),
    }
}

fn show(desk: &Desk<'_>, id: &str, expand: &Expand) -> Result<Value, Refusal> {
    let body = visible(desk, find(desk, id)?);
    Ok(if desk.by_browser() { body } else { expand.apply(desk, body) })
}

fn visible(desk: &Desk<'_>, intent: &Intent) -> Value {
    let body = render::intent(intent, desk.public_url);
    if desk.by_browser() { render::for_browser(body) } else { body }
}

fn find<'d>(desk: &'d Desk<'_>, id: &str) -> Result<&'d Intent, Refusal> {
    desk.data().intents.get(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Refusal {
    Refusal::missing("payment_intent", "intent", id)
}

fn unexpected(desk: &Desk<'_>, intent: &Intent, message: &str) -> Refusal {
    Refusal::state("payment_intent_unexpected_state", None, message)
        .with("payment_intent", visible(desk, intent))
}

fn status_before_confirmation(method: Option<Method>) -> IntentStatus {
    match method {
        Some(_) => IntentStatus::RequiresConfirmation,
        None => IntentStatus::RequiresPaymentMethod,
    }
}

/// The types of payment method that an intent is made for.
fn accepted_types(params: &mut Params, currency: &str) -> Result<Vec<String>, Refusal> {
    let mut automatic = params.group("automatic_payment_methods")?;
    let enabled = automatic.boolean("enabled")?;
    // None of the sandbox's methods leads to another page, so that there is nothing to allow.
    automatic.text("allow_redirects")?;
    automatic.finish()?;
    let types = params.texts("payment_method_types")?;
    if enabled == Some(true) && !types.is_empty() {
        return Err(Refusal::exclusive("automatic_payment_methods", "payment_method_types"));
    }
    methods::accepted_types(types, currency)
}

fn accepted(types: &[String], method: Method, currency: &str) -> Result<(), Refusal> {
    let kind = method.type_name(currency);
    if types.iter().any(|accepted| accepted == kind) {
        return Ok(());
    }
    let message = format!(
        "The PaymentMethod provided ({kind}) is not allowed for this PaymentIntent, which takes {}.",
        types.join(", ")
    );
    Err(Refusal::parameter("payment_intent_incompatible_payment_method", "payment_method", message))
}

fn return_url(params: &mut Params) -> Result<Option<String>, Refusal> {
    let url = params.text("return_url")?;
    if let Some(url) = &url {
        web_address(url, "return_url")?;
    }
    Ok(url)
}
