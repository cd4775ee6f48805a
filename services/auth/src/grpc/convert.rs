//! Rows to messages.

use quire_clock::Timestamp;
use quire_identity::{Role, UserCaller};
use quire_limit::{Explanation, Source};
use quire_proto::auth::v1 as pb;
use quire_proto::{from_timestamp, timestamp};

use crate::audit::{AuditQuery, Page};
use crate::keys::{self, Keys};
use crate::store::{audit_event, session, user};
use crate::tokens::TokenPair;

pub fn tokens(pair: TokenPair) -> pb::TokenPair {
    pb::TokenPair {
        access_token: pair.access,
        refresh_token: pair.refresh,
        access_expires_at: Some(timestamp(pair.access_expires_at.unix_micros())),
        refresh_expires_at: Some(timestamp(pair.refresh_expires_at.unix_micros())),
    }
}

pub fn user(user: user::Model, role: Role) -> pb::User {
    let role = match role {
        Role::User => pb::Role::User,
        Role::Admin => pb::Role::Admin,
    };
    pb::User {
        id: user.id,
        email: user.email,
        role: role.into(),
        created_at: Some(timestamp(user.created_at)),
        blocked: user.blocked_at.is_some(),
        last_sign_in_at: Some(timestamp(user.last_sign_in_at)),
    }
}

pub fn session(session: session::Model, caller: &UserCaller) -> pb::Session {
    pb::Session {
        created_at: Some(timestamp(session.created_at)),
        last_used_at: Some(timestamp(session.last_used_at)),
        expires_at: Some(timestamp(session.expires_at().unix_micros())),
        current: session.id == caller.session_id,
        user_agent: session.user_agent,
        name: session.name,
        id: session.id,
    }
}

pub fn keys(keys: &Keys) -> pb::ListSigningKeysResponse {
    let state = |state: &str| match state {
        keys::STANDBY => pb::SigningKeyState::Standby,
        keys::ACTIVE => pb::SigningKeyState::Active,
        keys::RETIRED => pb::SigningKeyState::Retired,
        _ => pb::SigningKeyState::Unspecified,
    };
    let keys = keys.public.iter().map(|(kid, (word, key))| pb::SigningKey {
        kid: kid.clone(),
        public_key: key.clone(),
        state: state(word).into(),
    });
    pb::ListSigningKeysResponse { keys: keys.collect() }
}

pub fn audit_query(request: pb::ListAuditEventsRequest) -> AuditQuery {
    let moment = |moment: prost_types::Timestamp| Timestamp::from_unix_micros(from_timestamp(&moment));
    AuditQuery {
        page_size: request.page_size,
        page_token: request.page_token,
        user_id: request.user_id,
        session_id: request.session_id,
        action: request.action,
        outcome: request.outcome,
        reason: request.reason,
        client_address: request.client_address,
        request_id: request.request_id,
        since: request.since.map(moment),
        until: request.until.map(moment),
    }
}

pub fn explanation(explanation: Explanation) -> pb::ExplainMailLimitResponse {
    let source = match explanation.source {
        Source::Redis => "redis",
        Source::Local => "local",
    };
    let seconds = |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let millis = |duration: std::time::Duration| {
        i64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(i64::MAX)
    };
    let policies = explanation.policies.into_iter().map(|state| pb::LimitState {
        by: state.policy.by.as_str().to_owned(),
        quota: state.policy.quota,
        window_seconds: seconds(state.policy.window),
        burst: state.policy.burst,
        shadow: state.policy.shadow,
        policy: state.policy.name,
        remaining: state.remaining,
        next_call_millis: millis(state.next_call),
        reset_millis: millis(state.reset_after),
        arrival: state.arrival.map(|moment| timestamp(moment.unix_micros())),
        denial_cached: state.denial_cached,
    });
    pb::ExplainMailLimitResponse { source: source.to_owned(), policies: policies.collect() }
}

pub fn page(page: Page) -> pb::ListAuditEventsResponse {
    pb::ListAuditEventsResponse {
        events: page.events.into_iter().map(event).collect(),
        next_page_token: page.next,
    }
}

fn event(event: audit_event::Model) -> pb::AuditEvent {
    pb::AuditEvent {
        id: event.id,
        at: Some(timestamp(event.at)),
        action: event.action,
        outcome: event.outcome,
        reason: event.reason,
        user_id: event.user_id,
        session_id: event.session_id,
        client_address: event.client_address,
        request_id: event.request_id,
        seq: event.seq,
        actor_id: event.actor_id,
    }
}
