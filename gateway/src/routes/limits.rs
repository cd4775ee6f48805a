//! Why was a call refused? How much of a rate limit somebody has used up, for operators. Uses nothing up.

use std::net::IpAddr;

use axum::Json;
use axum::response::IntoResponse;
use quire_fault::{Fault, Rule};
use quire_limit::{By, Keys, RouteLimit};
use quire_proto::auth::v1 as pb;
use serde_json::Value;

use crate::bearer::SignedIn;
use crate::client_address::limit_key;
use crate::error::{ApiError, ApiResult};
use crate::pages::Parameters;
use crate::render;
use crate::state::{Shared, State};
use crate::upstream::{self, Caller};

/// The route that auth counts, by mailbox.
const MAIL: &str = "mail";

pub(crate) async fn explain(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let routes = state.config.limits.routes();
    let name = given(&parameters, "route");
    if name == Some(MAIL) {
        return mail(&state, &caller, &parameters).await;
    }
    let Some(route) = routes.iter().find(|route| Some(route.name.as_str()) == name) else {
        let known = routes.iter().map(|route| route.name.as_str()).chain([MAIL]);
        let rule = Rule::Enum(known.map(str::to_owned).collect());
        return Err(parameters.blame(Fault::invalid_field("route", rule)));
    };
    let keys = keys(route, &parameters)?;
    let explanation = state.limiter.explain(route, &keys).await;
    Ok(Json(render::auth::limits(&route.name, &explanation)))
}

/// The keys that were given, among those that the route counts by.
fn keys(route: &RouteLimit, parameters: &Parameters) -> ApiResult<Keys> {
    let mut keys = Keys::default();
    let mut wanted: Vec<&str> = Vec::new();
    let mut found = false;
    for by in route.policies.iter().map(|policy| policy.by) {
        if wanted.contains(&by.as_str()) {
            continue;
        }
        wanted.push(by.as_str());
        let Some(value) = given(parameters, by.as_str()) else { continue };
        keys = match by {
            By::Address => keys.address(address(value).ok_or_else(|| no_address(parameters))?),
            By::Session => keys.session(value),
            By::User => keys.user(value),
            // No route of the gateway counts by these.
            By::Mailbox | By::Everybody => continue,
        };
        found = true;
    }
    if found {
        return Ok(keys);
    }
    let sentence = format!("{} is counted by {}: say whose", route.name, wanted.join(" and by "));
    let field = wanted.first().copied().unwrap_or("address");
    Err(parameters.blame(Fault::invalid_field(field, Rule::Value(sentence))))
}

/// Counted exactly as the address of a client is.
fn address(text: &str) -> Option<String> {
    text.parse::<IpAddr>().ok().map(limit_key)
}

fn no_address(parameters: &Parameters) -> ApiError {
    let sentence = "an IPv4 or IPv6 address such as 203.0.113.7 is accepted".to_owned();
    parameters.blame(Fault::invalid_field("address", Rule::Value(sentence)))
}

async fn mail(state: &State, caller: &Caller, parameters: &Parameters) -> ApiResult<Json<Value>> {
    let Some(email) = given(parameters, "email") else {
        let sentence = "mail is counted by the e-mail address: say whose".to_owned();
        return Err(parameters.blame(Fault::invalid_field("email", Rule::Value(sentence))));
    };
    let answer = upstream::read(|| async {
        let message = pb::ExplainMailLimitRequest { email: email.to_owned() };
        state.upstream.auth.clone().explain_mail_limit(state.upstream.quick(caller, message)).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    Ok(Json(render::auth::mail_limits(&answer)))
}

/// A parameter that is there and not empty.
fn given<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.text(name).map(str::trim).filter(|text| !text.is_empty())
}
