//! Messages of auth, and rate limits, as JSON.

use quire_clock::Timestamp;
use quire_identity::Keys;
use quire_limit::{Explanation, PolicyState, Source};
use quire_proto::auth::v1 as pb;
use serde_json::{Value, json};

use super::{or_null, time, word};

pub(crate) fn user(user: &pb::User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "role": word(user.role().as_str_name(), "ROLE_"),
        "blocked": user.blocked,
        "created_at": time(user.created_at.as_ref()),
        "last_sign_in_at": time(user.last_sign_in_at.as_ref()),
    })
}

/// The names of OAuth 2.0 (RFC 6749 section 5.1).
pub(crate) fn tokens(tokens: &pb::TokenPair, now: Timestamp) -> Value {
    let seconds = |moment: Option<&prost_types::Timestamp>| {
        moment.map_or(0, |moment| moment.seconds.saturating_sub(now.unix_seconds()).max(0))
    };
    json!({
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "bearer",
        "expires_in": seconds(tokens.access_expires_at.as_ref()),
        "refresh_expires_in": seconds(tokens.refresh_expires_at.as_ref()),
    })
}

pub(crate) fn session(session: &pb::Session) -> Value {
    json!({
        "id": session.id,
        "name": session.name,
        "user_agent": session.user_agent,
        "current": session.current,
        "created_at": time(session.created_at.as_ref()),
        "last_used_at": time(session.last_used_at.as_ref()),
        "expires_at": time(session.expires_at.as_ref()),
    })
}

pub(crate) fn audit_event(event: &pb::AuditEvent) -> Value {
    json!({
        "id": event.id,
        "seq": event.seq,
        "at": time(event.at.as_ref()),
        "action": event.action,
        "outcome": event.outcome,
        "reason": or_null(&event.reason),
        "user_id": or_null(&event.user_id),
        "actor_id": or_null(&event.actor_id),
        "session_id": or_null(&event.session_id),
        "client_address": or_null(&event.client_address),
        "request_id": or_null(&event.request_id),
    })
}

/// A JSON Web Key Set (RFC 7517; RFC 8037 for Ed25519).
pub(crate) fn key_set(keys: &Keys) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let keys = keys.iter().map(|(kid, bytes)| {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": URL_SAFE_NO_PAD.encode(bytes),
            "kid": kid,
            "use": "sig",
            "alg": "EdDSA",
        })
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}

/// How a route's limits, counted by the gateway itself, stand for one caller.
pub(crate) fn limits(route: &str, explanation: &Explanation) -> Value {
    let source = match explanation.source {
        Source::Redis => "redis",
        Source::Local => "local",
    };
    let policies: Vec<Value> = explanation.policies.iter().map(policy).collect();
    json!({ "route": route, "source": source, "policies": policies })
}

fn policy(state: &PolicyState) -> Value {
    let seconds = |duration: std::time::Duration| duration.as_micros().div_ceil(1000) as f64 / 1000.0;
    json!({
        "policy": state.policy.name,
        "by": state.policy.by.as_str(),
        "quota": state.policy.quota,
        "window_seconds": state.policy.window.as_secs(),
        "burst": state.policy.burst,
        "shadow": state.policy.shadow,
        "remaining": state.remaining,
        "next_call_seconds": seconds(state.next_call),
        "reset_seconds": seconds(state.reset_after),
        "arrival": state.arrival.map(Timestamp::rfc3339),
        "denial_cached": state.denial_cached,
    })
}

/// How the limits on mail, which auth counts, stand for one mailbox.
pub(crate) fn mail_limits(answer: &pb::ExplainMailLimitResponse) -> Value {
    let policies: Vec<Value> = answer.policies.iter().map(mail_policy).collect();
    json!({ "route": "mail", "source": answer.source, "policies": policies })
}

fn mail_policy(state: &pb::LimitState) -> Value {
    let seconds = |millis: i64| millis as f64 / 1000.0;
    json!({
        "policy": state.policy,
        "by": state.by,
        "quota": state.quota,
        "window_seconds": state.window_seconds,
        "burst": state.burst,
        "shadow": state.shadow,
        "remaining": state.remaining,
        "next_call_seconds": seconds(state.next_call_millis),
        "reset_seconds": seconds(state.reset_millis),
        "arrival": time(state.arrival.as_ref()),
        "denial_cached": state.denial_cached,
    })
}
