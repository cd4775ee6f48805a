//! The page on which the buyer's bank asks whether the payment is theirs.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::Url;

use crate::bank::Decision;
use crate::desk::{Desk, Origin};
use crate::form::pairs;
use crate::html::{self, Outcome, Page, site};
use crate::provider::Provider;
use crate::record::{Intent, IntentStatus};
use crate::{currency, intents, page, payments};

const MAX_FORM_BYTES: usize = 4096;

type Shared = State<Arc<Provider>>;

/// The routes below `/authenticate`. Whoever has the address, with the client secret in it, is the buyer.
pub(crate) fn routes() -> Router<Arc<Provider>> {
    let route = get(show).post(submit);
    Router::new().route("/authenticate/{id}", route).layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

async fn show(State(provider): Shared, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    visit(&provider, &id, query, None).await
}

async fn submit(
    State(provider): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let decision = match page::action(&body).as_deref() {
        Some("confirm") => Decision::Succeed,
        Some("refuse") => Decision::Fail,
        _ => {
            let message = "The form needs action=confirm or action=refuse.";
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    visit(&provider, &id, query, Some(decision)).await
}

async fn visit(provider: &Provider, id: &str, query: Option<String>, decision: Option<Decision>) -> Response {
    let secret = pairs(query.unwrap_or_default().as_bytes())
        .into_iter()
        .find(|(name, _)| name == "client_secret")
        .map(|(_, secret)| secret)
        .unwrap_or_default();
    let (outcome, saved) =
        provider.transact(&Origin::default(), |desk| outcome(desk, id, &secret, decision)).await;
    if saved.is_err() { html::not_saved() } else { html::respond(&provider.world, outcome) }
}

fn outcome(desk: &mut Desk<'_>, id: &str, secret: &str, decision: Option<Decision>) -> Outcome {
    let intent = desk.data().intents.get(id).filter(|intent| intents::has_secret(intent, secret));
    let Some(intent) = intent else {
        let notice = "There is no such payment. Check the address, or go back to the shop.";
        return message(StatusCode::NOT_FOUND, "Not found", notice, String::new(), String::new());
    };
    if intent.status != IntentStatus::RequiresAction {
        let notice = "Your bank has nothing to ask about this payment.";
        return message(StatusCode::OK, "Done", notice, String::new(), String::new());
    }
    let Some(decision) = decision else {
        let main = format!(
            "<p>{}</p><form method=\"post\"><button class=\"pay\" name=\"action\" value=\"confirm\">It is mine\
             </button><button name=\"action\" value=\"refuse\">It is not mine</button></form>",
            currency::show(intent.amount, &intent.currency)
        );
        let target = intent.return_url.as_deref().map(site).unwrap_or_default();
        return message(
            StatusCode::OK,
            "Is this payment yours?",
            "Your bank asks you to confirm it.",
            main,
            target,
        );
    };
    let back = back_url(intent, secret, decision);
    // The status was looked at above, so that it can be decided.
    let _ = payments::decide(desk, id, decision);
    match back {
        Some(url) => Outcome::Redirect(url),
        None => {
            let notice = "Your bank knows. You can close this page.";
            message(StatusCode::OK, "Done", notice, String::new(), String::new())
        }
    }
}

/// The shop's address with what Stripe adds to it.
fn back_url(intent: &Intent, secret: &str, decision: Decision) -> Option<String> {
    let mut url = Url::parse(intent.return_url.as_deref()?).ok()?;
    let status = if decision == Decision::Succeed { "succeeded" } else { "failed" };
    url.query_pairs_mut()
        .append_pair("payment_intent", &intent.id)
        .append_pair("payment_intent_client_secret", secret)
        .append_pair("redirect_status", status);
    Some(url.into())
}

fn message(
    status: StatusCode,
    title: &'static str,
    notice: &'static str,
    main: String,
    form_target: String,
) -> Outcome {
    Outcome::Page(Page { status, title, notice: Some(notice), main, form_target })
}
