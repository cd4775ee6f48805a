//! Checkout sessions: made by the merchant, paid or declined on the hosted page, expired by the clock.

use serde_json::Value;
use url::Url;

use crate::desk::Desk;
use crate::expand::Expand;
use crate::form::Params;
use crate::listing::Cursor;
use crate::methods::{self, Method};
use crate::record::{Intent, IntentStatus, LineItem, Session, SessionStatus};
use crate::refusal::Refusal;
use crate::{currency, metadata, payments, render};

const MIN_LIFE_SECONDS: i64 = 30 * 60;
const MAX_LIFE_SECONDS: i64 = 24 * 60 * 60;
const MAX_ITEMS: usize = 100;
const EXPANDABLE: [&str; 2] = ["payment_intent", "payment_intent.latest_charge"];

/// `POST /v1/checkout/sessions`.
pub(crate) fn create(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let mode = params.required_text("mode")?;
    if mode != "payment" {
        return Err(invalid("mode", "The sandbox takes only mode=payment."));
    }
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    let (currency, items) = line_items(&mut params)?;
    let method_types = methods::accepted_types(params.texts("payment_method_types")?, &currency)?;
    let amount_total = total(&items);
    currency::check(&currency, amount_total, "line_items")?;
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
    let metadata = metadata::take(&mut params)?;
    let mut intent = params.group("payment_intent_data")?;
    let intent_metadata = metadata::take(&mut intent)?;
    let intent_description = intent.text("description")?;
    intent.finish()?;
    params.finish()?;

    let session = Session {
        id: desk.id("cs_test"),
        created: desk.now,
        expires_at,
        status: SessionStatus::Open,
        unpaid: false,
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
        method_types,
    };
    let body = render::session(&session, desk.public_url);
    desk.edit().sessions.push(session);
    Ok(expand.apply(desk, body))
}

/// `GET /v1/checkout/sessions/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    params.finish()?;
    expire_if_due(desk, id);
    let body = render::session(find(desk, id)?, desk.public_url);
    Ok(expand.apply(desk, body))
}

/// `GET /v1/checkout/sessions`, with the filter `payment_intent`.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let expand = Expand::take_for_list(&mut params, &EXPANDABLE)?;
    let intent = params.text("payment_intent")?;
    params.finish()?;
    expire_all_due(desk);
    let page = cursor.page(
        &desk.data().sessions,
        "/v1/checkout/sessions",
        |session| intent.is_none() || session.intent == intent,
        |session| render::session(session, desk.public_url),
    )?;
    Ok(expand.apply(desk, page))
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

/// The buyer pays with this method. Has an effect only while the session is open and if it takes the method.
pub(crate) fn pay(desk: &mut Desk<'_>, id: &str, method: Method) {
    expire_if_due(desk, id);
    let takes_debit = |session: &Session| methods::takes_bank_debit(&session.method_types, &session.currency);
    if method.is_bank_debit() && !desk.data().sessions.get(id).is_some_and(takes_debit) {
        return;
    }
    let Some(intent) = intent_of_open(desk, id) else {
        return;
    };
    // What went wrong stands in the intent: the buyer sees that the session is still open.
    let _ = payments::attempt(desk, &intent, method);
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
        status: IntentStatus::RequiresPaymentMethod,
        latest_charge: None,
        failure: None,
        method: None,
        method_types: session.method_types.clone(),
        client_secret: None,
        return_url: None,
        canceled_at: None,
        cancellation_reason: None,
        session: Some(id.to_owned()),
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
    let mut common: Option<String> = None;
    let mut items = Vec::with_capacity(groups.len());
    for mut group in groups {
        let mut price = group.group("price_data")?;
        if price.is_empty() {
            return Err(group.absent("price_data"));
        }
        let own_currency = currency::parse(&price.required_text("currency")?, &price.full("currency"))?;
        if common.as_ref().is_some_and(|first| *first != own_currency) {
            return Err(invalid(&price.full("currency"), "All line items must have the same currency."));
        }
        common = Some(own_currency);
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
    Ok((common.unwrap_or_default(), items))
}

/// The sum, or the largest number if there is no such number.
fn total(items: &[LineItem]) -> i64 {
    items.iter().fold(0, |sum: i64, item| sum.saturating_add(item.unit_amount.saturating_mul(item.quantity)))
}

/// Refuses what is no address of a web page.
pub(crate) fn web_address(address: &str, param: &str) -> Result<(), Refusal> {
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
