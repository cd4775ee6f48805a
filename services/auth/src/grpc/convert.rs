//! Rows to messages.

use quire_identity::{Role, UserCaller};
use quire_proto::auth::v1 as pb;
use quire_proto::timestamp;

use crate::audit::Page;
use crate::keys::Keys;
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
    }
}

pub fn session(session: session::Model, caller: &UserCaller) -> pb::Session {
    pb::Session {
        created_at: Some(timestamp(session.created_at)),
        last_used_at: Some(timestamp(session.last_used_at)),
        expires_at: Some(timestamp(session.expires_at().unix_micros())),
        current: session.id == caller.session_id,
        user_agent: session.user_agent,
        id: session.id,
    }
}

pub fn keys(keys: &Keys) -> pb::ListSigningKeysResponse {
    let keys = keys.public.iter();
    pb::ListSigningKeysResponse {
        keys: keys.map(|(kid, key)| pb::SigningKey { kid: kid.clone(), public_key: key.clone() }).collect(),
    }
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
    }
}
