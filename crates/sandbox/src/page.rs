//! The hosted page on which the buyer pays or has the card declined.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::desk::{Desk, Origin};
use crate::form::pairs;
use crate::html::{self, Outcome, Page, escape, site};
use crate::methods::Method;
use crate::provider::Provider;
use crate::record::{Session, SessionStatus};
use crate::{checkout, currency, methods};

const MAX_FORM_BYTES: usize = 4096;

type Shared = State<Arc<Provider>>;

/// The routes below `/pay`.
pub(crate) fn routes() -> Router<Arc<Provider>> {
    Router::new().route("/pay/{id}", get(show).post(submit)).layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

async fn show(State(provider): Shared, Path(id): Path<String>) -> Response {
    visit(&provider, &id, |desk| checkout::expire_if_due(desk, &id), None).await
}

async fn submit(State(provider): Shared, Path(id): Path<String>, body: Bytes) -> Response {
    let method = match action(&body).as_deref() {
        Some("pay") => Method::Card,
        Some("decline") => Method::Declined,
        Some("debit") => Method::BankDebit,
        _ => {
            let message = "The form needs action=pay, action=debit or action=decline.";
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    visit(&provider, &id, |desk| checkout::pay(desk, &id, method), Some(method)).await
}

/// What the buyer pressed.
pub(crate) fn action(body: &[u8]) -> Option<String> {
    pairs(body).into_iter().find(|(name, _)| name == "action").map(|(_, value)| value)
}

async fn visit(
    provider: &Provider,
    id: &str,
    act: impl FnOnce(&mut Desk<'_>),
    method: Option<Method>,
) -> Response {
    let (outcome, saved) = provider
        .transact(&Origin::default(), |desk| {
            act(desk);
            outcome(desk.data().sessions.get(id), method)
        })
        .await;
    if saved.is_err() { html::not_saved() } else { html::respond(&provider.world, outcome) }
}

/// What the buyer sees after trying to pay with this method, or before.
fn outcome(session: Option<&Session>, method: Option<Method>) -> Outcome {
    let Some(session) = session else {
        return Outcome::Page(Page {
            status: StatusCode::NOT_FOUND,
            title: "Not found",
            notice: Some("There is no such payment. Check the address, or go back to the shop."),
            main: String::new(),
            form_target: String::new(),
        });
    };
    let (status, title, notice) = match (session.status, method) {
        (SessionStatus::Complete, Some(Method::Card | Method::BankDebit)) => {
            return Outcome::Redirect(success_url(session));
        }
        (SessionStatus::Complete, _) if session.unpaid => {
            (StatusCode::OK, "Ordered", Some("The bank has been asked for the money."))
        }
        (SessionStatus::Complete, _) => (StatusCode::OK, "Paid", Some("This order has been paid.")),
        (SessionStatus::Expired, _) => {
            (StatusCode::GONE, "Expired", Some("The time to pay this order is over. Nothing was charged."))
        }
        (SessionStatus::Open, Some(Method::BankDebit)) => {
            (StatusCode::BAD_REQUEST, "Pay", Some("This shop takes no bank debits."))
        }
        (SessionStatus::Open, Some(_)) => {
            let notice = "The card was declined. Nothing was charged. You can try again.";
            (StatusCode::PAYMENT_REQUIRED, "Declined", Some(notice))
        }
        (SessionStatus::Open, None) => (StatusCode::OK, "Pay", None),
    };
    let form_target = site(&session.success_url);
    Outcome::Page(Page { status, title, notice, main: order(session), form_target })
}

fn success_url(session: &Session) -> String {
    session.success_url.replace("{CHECKOUT_SESSION_ID}", &session.id)
}

/// The order, the buttons while it can be paid, and the way back.
fn order(session: &Session) -> String {
    let price = |amount| currency::show(amount, &session.currency);
    let mut main = String::from("<table><caption>Your order</caption><tbody>");
    for item in &session.items {
        let times = if item.quantity == 1 { String::new() } else { format!("{} × ", item.quantity) };
        let detail = item.description.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
        let name = escape(&format!("{times}{}{detail}", item.name));
        let amount = price(item.unit_amount * item.quantity);
        let _ = write!(main, "<tr><th scope=\"row\">{name}</th><td>{amount}</td></tr>");
    }
    let total = price(session.amount_total);
    let _ =
        write!(main, "</tbody><tfoot><tr><th scope=\"row\">Total</th><td>{total}</td></tr></tfoot></table>");
    if session.status == SessionStatus::Open {
        let button = |class: &str, action: &str, text: &str| {
            format!("<button{class} name=\"action\" value=\"{action}\">{text}</button>")
        };
        let pay = button(" class=\"pay\"", "pay", &format!("Pay {total}"));
        let debit = methods::takes_bank_debit(&session.method_types, &session.currency)
            .then(|| button("", "debit", "Pay by bank debit, which takes days"));
        let decline = button("", "decline", "Decline the card");
        let _ = write!(main, "<form method=\"post\">{pay}{}{decline}</form>", debit.unwrap_or_default());
    }
    let back = match session.status {
        SessionStatus::Complete => Some((success_url(session), "Continue to the shop")),
        _ => session.cancel_url.clone().map(|url| (url, "Back to the shop without paying")),
    };
    if let Some((url, text)) = back {
        let _ = write!(main, "<p><a href=\"{}\">{text}</a></p>", escape(&url));
    }
    main
}
