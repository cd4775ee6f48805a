//! The hosted page on which the buyer pays or has the card declined.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use url::Url;

use crate::checkout;
use crate::desk::{Desk, Origin};
use crate::form::pairs;
use crate::provider::Provider;
use crate::record::{Session, SessionStatus};

const STYLE: &str = include_str!("page.css");
const MAX_FORM_BYTES: usize = 4096;

type Shared = State<Arc<Provider>>;

/// The routes below `/pay`.
pub(crate) fn routes() -> Router<Arc<Provider>> {
    Router::new().route("/pay/{id}", get(show).post(submit)).layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

/// What a visit ends with.
enum Outcome {
    Page(StatusCode, View),
    Redirect(String),
}

/// What the page says.
struct View {
    title: &'static str,
    notice: Option<&'static str>,
    order: Option<Order>,
    nonce: String,
}

/// The order, with its texts already escaped.
struct Order {
    items: Vec<(String, String)>,
    total: String,
    open: bool,
    back: Option<(String, &'static str)>,
    /// Where the form may lead: browsers apply the policy for forms to the redirect that follows, too.
    success_origin: String,
}

async fn show(State(provider): Shared, Path(id): Path<String>) -> Response {
    visit(&provider, &id, |desk| checkout::expire_if_due(desk, &id), None).await
}

async fn submit(State(provider): Shared, Path(id): Path<String>, body: Bytes) -> Response {
    let form = pairs(&body);
    match form.iter().find(|(name, _)| name == "action").map(|(_, value)| value.as_str()) {
        Some("pay") => visit(&provider, &id, |desk| checkout::pay(desk, &id), Some("pay")).await,
        Some("decline") => visit(&provider, &id, |desk| checkout::decline(desk, &id), Some("decline")).await,
        _ => (StatusCode::BAD_REQUEST, "The form needs action=pay or action=decline.").into_response(),
    }
}

async fn visit(
    provider: &Provider,
    id: &str,
    act: impl FnOnce(&mut Desk<'_>),
    action: Option<&str>,
) -> Response {
    let nonce = hex::encode(provider.world.bytes::<16>());
    let (outcome, saved) = provider
        .transact(&Origin::default(), |desk| {
            act(desk);
            outcome(desk.data().sessions.get(id), action, nonce)
        })
        .await;
    if saved.is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "The payment could not be saved. Try again.")
            .into_response();
    }
    match outcome {
        Outcome::Redirect(url) => match HeaderValue::try_from(url) {
            Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The shop's address is not valid.").into_response(),
        },
        Outcome::Page(status, view) => respond(status, &view),
    }
}

fn outcome(session: Option<&Session>, action: Option<&str>, nonce: String) -> Outcome {
    let Some(session) = session else {
        let notice = Some("There is no such payment. Check the address, or go back to the shop.");
        return Outcome::Page(StatusCode::NOT_FOUND, View { title: "Not found", notice, order: None, nonce });
    };
    let (status, title, notice) = match (session.status, action) {
        (SessionStatus::Complete, Some("pay")) => {
            return Outcome::Redirect(session.success_url.replace("{CHECKOUT_SESSION_ID}", &session.id));
        }
        (SessionStatus::Complete, _) => (StatusCode::OK, "Paid", Some("This order has been paid.")),
        (SessionStatus::Expired, _) => {
            (StatusCode::GONE, "Expired", Some("The time to pay this order is over. Nothing was charged."))
        }
        (SessionStatus::Open, Some(_)) => {
            let notice = "The card was declined. Nothing was charged. You can try again.";
            (StatusCode::PAYMENT_REQUIRED, "Declined", Some(notice))
        }
        (SessionStatus::Open, None) => (StatusCode::OK, "Pay", None),
    };
    Outcome::Page(status, View { title, notice, order: Some(Order::of(session)), nonce })
}

impl Order {
    fn of(session: &Session) -> Self {
        let price = |amount| money(amount, &session.currency);
        let items = session.items.iter().map(|item| {
            let times = if item.quantity == 1 { String::new() } else { format!("{} × ", item.quantity) };
            let detail = item.description.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
            (escape(&format!("{times}{}{detail}", item.name)), price(item.unit_amount * item.quantity))
        });
        let back = match session.status {
            SessionStatus::Complete => {
                let url = session.success_url.replace("{CHECKOUT_SESSION_ID}", &session.id);
                Some((escape(&url), "Continue to the shop"))
            }
            _ => session.cancel_url.as_ref().map(|url| (escape(url), "Back to the shop without paying")),
        };
        let success_origin = Url::parse(&session.success_url)
            .map(|url| url.origin().ascii_serialization())
            .unwrap_or_default();
        Self {
            items: items.collect(),
            total: price(session.amount_total),
            open: session.status == SessionStatus::Open,
            back,
            success_origin,
        }
    }
}

fn respond(status: StatusCode, view: &View) -> Response {
    let form_target = view.order.as_ref().map(|order| order.success_origin.as_str()).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{}'; form-action 'self' {form_target}; base-uri 'none'; \
         frame-ancestors 'none'",
        view.nonce
    );
    let mut response = (status, Html(html(view))).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn html(view: &View) -> String {
    let mut main = String::new();
    if let Some(notice) = view.notice {
        let _ = write!(main, "<p class=\"notice\" role=\"status\">{notice}</p>");
    }
    if let Some(order) = &view.order {
        main.push_str("<table><caption>Your order</caption><tbody>");
        for (name, price) in &order.items {
            let _ = write!(main, "<tr><th scope=\"row\">{name}</th><td>{price}</td></tr>");
        }
        let _ = write!(
            main,
            "</tbody><tfoot><tr><th scope=\"row\">Total</th><td>{}</td></tr></tfoot></table>",
            order.total
        );
        if order.open {
            let _ = write!(
                main,
                "<form method=\"post\"><button class=\"pay\" name=\"action\" value=\"pay\">Pay {}</button>\
                 <button name=\"action\" value=\"decline\">Decline the card</button></form>",
                order.total
            );
        }
        if let Some((url, text)) = &order.back {
            let _ = write!(main, "<p><a href=\"{url}\">{text}</a></p>");
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} – test payment</title><style nonce=\"{nonce}\">{STYLE}</style></head>\
         <body><main><h1>{title}</h1><p class=\"test\">This is a test payment. No money moves.</p>{main}</main>\
         </body></html>",
        title = view.title,
        nonce = view.nonce,
    )
}

/// An amount in minor units as people write it, with the decimals that the currency has at Stripe.
fn money(amount: i64, currency: &str) -> String {
    let decimals = match currency {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd" | "vuv"
        | "xaf" | "xof" | "xpf" => 0,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    };
    let unit = 10_i64.pow(decimals);
    let currency = currency.to_ascii_uppercase();
    if decimals == 0 {
        return format!("{amount} {currency}");
    }
    let width = usize::try_from(decimals).unwrap_or(0);
    format!("{}.{:0width$} {currency}", amount / unit, amount % unit)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(money(50, "usd"), "0.50 USD");
        assert_eq!(money(123_456, "eur"), "1234.56 EUR");
        assert_eq!(money(500, "jpy"), "500 JPY");
        assert_eq!(money(1_005, "kwd"), "1.005 KWD");
    }

    #[test]
    fn markup_in_texts_is_escaped() {
        assert_eq!(escape(r#"<a href="x">'&'"#), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
    }
}
