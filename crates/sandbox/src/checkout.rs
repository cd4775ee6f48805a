//! Checkout sessions: made by the merchant, paid or declined on the hosted page, expired by the clock.

use serde_json::Value;
use url::Url;

use crate::desk::Desk;
use crate::form::Params;
use crate::listing::Cursor;
use crate::record::{Charge, Intent, LineItem, Session, SessionStatus};
use crate::refusal::Refusal;
use crate::render;

const MIN_LIFE_SECONDS: i64 = 30 * 60;
const MAX_LIFE_SECONDS: i64 = 24 * 60 * 60;
const MAX_ITEMS: usize = 100;
const MAX_AMOUNT: i64 = 99_999_999;

/// `POST /v1/checkout/sessions`.
pub(crate) fn create(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let mode = params.required_text("mode")?;
    if mode != "payment" {
        return Err(invalid("mode", "The sandbox takes only mode=payment."));
    }
    for method in params.texts("payment_method_types")? {
        if method != "card" {
            return Err(invalid("payment_method_types", "The sandbox takes only cards."));
        }
    }
    let (currency, items) = line_items(&mut params)?;
    let amount_total = total(&items)?;
    let success_url = params.required_text("success_url")?;
    web_address(&success_url, "success_url")?;
    let cancel_url = params.text("cancel_url")?;
    if let Some(cancel_url) = &cancel_url {
        web_address(cancel_url, "cancel_url")?;
    }
    let client_reference_id = params.text("client_reference_id")?;
    if client_reference_id.as_ref().is_some_and(|id| id.chars().count() > 200) {
        return Err(invalid("client_reference_id", "At most 200 characters are allowed."));
    }
    let customer_email = params.text("customer_email")?;
    if customer_email.as_ref().is_some_and(|email| !email.contains('@')) {
        return Err(Refusal::parameter("email_invalid", "customer_email", "Invalid email address."));
    }
    let expires_at = params.integer("expires_at")?.unwrap_or(desk.now + MAX_LIFE_SECONDS);
    if !(desk.now + MIN_LIFE_SECONDS..=desk.now + MAX_LIFE_SECONDS).contains(&expires_at) {
        return Err(invalid("expires_at", "The time must be between 30 minutes and 24 hours from now."));
    }
    let metadata = params.metadata()?;
    let mut intent = params.group("payment_intent_data")?;
    let intent_metadata = intent.metadata()?;
    let intent_description = intent.text("description")?;
    intent.finish()?;
    params.finish()?;

    let session = Session {
        id: desk.id("cs_test"),
        created: desk.now,
        expires_at,
        status: SessionStatus::Open,
        currency,
        items,
        amount_total,
        success_url,
        cancel_url,
        client_reference_id,
        customer_email,
        metadata,
        intent_metadata,
        intent_description,
        intent: None,
    };
    let body = render::session(&session, desk.public_url);
    desk.edit().sessions.push(session);
    Ok(body)
}

/// `GET /v1/checkout/sessions/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    expire_if_due(desk, id);
    Ok(render::session(find(desk, id)?, desk.public_url))
}

/// `GET /v1/checkout/sessions`, with the filter `payment_intent`.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let intent = params.text("payment_intent")?;
    params.finish()?;
    expire_all_due(desk);
    cursor.page(
        &desk.data().sessions,
        "/v1/checkout/sessions",
        |session| intent.is_none() || session.intent == intent,
        |session| render::session(session, desk.public_url),
    )
}

/// `POST /v1/checkout/sessions/{id}/expire`.
pub(crate) fn expire(desk: &mut Desk<'_>, id: &str, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    expire_if_due(desk, id);
    if find(desk, id)?.status != SessionStatus::Open {
        return Err(Refusal::state(
            "checkout_session_not_open",
            None,
            "Only Checkout Sessions with a status in [\"open\"] can be expired.",
        ));
    }
    expire_now(desk, id);
    Ok(render::session(find(desk, id)?, desk.public_url))
}

/// `GET /v1/payment_intents/{id}`.
pub(crate) fn retrieve_intent(desk: &mut Desk<'_>, id: &str, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    let intent = desk.data().intents.get(id);
    intent.map(render::intent).ok_or_else(|| Refusal::missing("payment_intent", "intent", id))
}

/// The buyer pays. Has an effect only while the session is open.
pub(crate) fn pay(desk: &mut Desk<'_>, id: &str) {
    expire_if_due(desk, id);
    let Some(intent_id) = intent_of_open(desk, id) else {
        return;
    };
    let charge_id = desk.id("ch");
    let (now, public_url) = (desk.now, desk.public_url);
    let data = desk.edit();
    let intent = data.intents.get_mut(&intent_id).expect("the session has just named it");
    intent.charge = Some(charge_id.clone());
    let charge = Charge {
        id: charge_id,
        created: now,
        intent: intent.id.clone(),
        amount: intent.amount,
        amount_refunded: 0,
        currency: intent.currency.clone(),
        description: intent.description.clone(),
        metadata: intent.metadata.clone(),
    };
    let (charge_body, intent_body) = (render::charge(&charge), render::intent(intent));
    data.charges.push(charge);
    let session = data.sessions.get_mut(id).expect("it was open");
    session.status = SessionStatus::Complete;
    let session_body = render::session(session, public_url);
    desk.emit("charge.succeeded", charge_body);
    desk.emit("payment_intent.succeeded", intent_body);
    desk.emit("checkout.session.completed", session_body);
}

/// The buyer's card is declined. The session stays open for another try.
pub(crate) fn decline(desk: &mut Desk<'_>, id: &str) {
    expire_if_due(desk, id);
    let Some(intent_id) = intent_of_open(desk, id) else {
        return;
    };
    let intent = desk.edit().intents.get_mut(&intent_id).expect("the session has just named it");
    intent.declined = true;
    let body = render::intent(intent);
    desk.emit("payment_intent.payment_failed", body);
}

/// Expires one session whose time is up.
pub(crate) fn expire_if_due(desk: &mut Desk<'_>, id: &str) {
    let now = desk.now;
    if desk.data().sessions.get(id).is_some_and(|session| is_due(session, now)) {
        expire_now(desk, id);
    }
}

/// Expires every session whose time is up.
pub(crate) fn expire_all_due(desk: &mut Desk<'_>) {
    let now = desk.now;
    let sessions = desk.data().sessions.rows().iter();
    let due: Vec<String> =
        sessions.filter(|session| is_due(session, now)).map(|session| session.id.clone()).collect();
    for id in due {
        expire_now(desk, &id);
    }
}

fn is_due(session: &Session, now: i64) -> bool {
    session.status == SessionStatus::Open && session.expires_at <= now
}

fn expire_now(desk: &mut Desk<'_>, id: &str) {
    let public_url = desk.public_url;
    let Some(session) = desk.edit().sessions.get_mut(id) else {
        return;
    };
    session.status = SessionStatus::Expired;
    let body = render::session(session, public_url);
    desk.emit("checkout.session.expired", body);
}

fn find<'d>(desk: &'d Desk<'_>, id: &str) -> Result<&'d Session, Refusal> {
    desk.data().sessions.get(id).ok_or_else(|| Refusal::missing("checkout.session", "session", id))
}

/// The payment intent of a session, made at the first try to pay, or nothing if the session is not open.
fn intent_of_open(desk: &mut Desk<'_>, id: &str) -> Option<String> {
    let session = desk.data().sessions.get(id)?;
    if session.status != SessionStatus::Open {
        return None;
    }
    if let Some(intent) = &session.intent {
        return Some(intent.clone());
    }
    let intent = Intent {
        id: desk.id("pi"),
        created: desk.now,
        amount: session.amount_total,
        currency: session.currency.clone(),
        description: session.intent_description.clone(),
        metadata: session.intent_metadata.clone(),
        charge: None,
        declined: false,
    };
    let intent_id = intent.id.clone();
    let data = desk.edit();
    data.intents.push(intent);
    data.sessions.get_mut(id)?.intent = Some(intent_id.clone());
    Some(intent_id)
}

fn line_items(params: &mut Params) -> Result<(String, Vec<LineItem>), Refusal> {
    let groups = params.groups("line_items")?;
    if groups.is_empty() {
        return Err(params.absent("line_items"));
    }
    if groups.len() > MAX_ITEMS {
        return Err(invalid("line_items", "At most 100 line items are allowed."));
    }
    let mut currency: Option<String> = None;
    let mut items = Vec::with_capacity(groups.len());
    for mut group in groups {
        let mut price = group.group("price_data")?;
        if price.is_empty() {
            return Err(group.absent("price_data"));
        }
        let own_currency = price.required_text("currency")?.to_ascii_lowercase();
        if own_currency.len() != 3 || !own_currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(invalid(&price.full("currency"), "Invalid currency: a three-letter code is needed."));
        }
        if currency.as_ref().is_some_and(|first| *first != own_currency) {
            return Err(invalid(&price.full("currency"), "All line items must have the same currency."));
        }
        currency = Some(own_currency);
        let unit_amount = price.required_integer("unit_amount")?;
        if unit_amount < 0 {
            return Err(invalid(&price.full("unit_amount"), "The amount must not be negative."));
        }
        let mut product = price.group("product_data")?;
        let name = product.required_text("name")?;
        let description = product.text("description")?;
        product.finish()?;
        price.finish()?;
        let quantity = group.required_integer("quantity")?;
        if quantity < 1 {
            return Err(invalid(&group.full("quantity"), "The quantity must be at least 1."));
        }
        group.finish()?;
        items.push(LineItem { name, description, unit_amount, quantity });
    }
    Ok((currency.unwrap_or_default(), items))
}

fn total(items: &[LineItem]) -> Result<i64, Refusal> {
    let total = items
        .iter()
        .try_fold(0_i64, |sum, item| item.unit_amount.checked_mul(item.quantity)?.checked_add(sum))
        .filter(|total| *total <= MAX_AMOUNT)
        .ok_or_else(|| {
            Refusal::parameter("amount_too_large", "line_items", "The total must be no more than 99999999.")
        })?;
    if total == 0 {
        return Err(Refusal::parameter(
            "amount_too_small",
            "line_items",
            "The total must be more than zero.",
        ));
    }
    Ok(total)
}

fn web_address(address: &str, param: &str) -> Result<(), Refusal> {
    // The address ends up in a Location header, which holds plain ASCII only.
    match Url::parse(address) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && address.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(())
        }
        _ => Err(Refusal::parameter("url_invalid", param, "Not a valid URL")),
    }
}

fn invalid(param: &str, message: &str) -> Refusal {
    Refusal::parameter("parameter_invalid", param, message)
}
