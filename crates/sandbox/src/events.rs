//! The record of what happened, for those who missed a webhook.

use serde_json::Value;

use crate::desk::Desk;
use crate::form::Params;
use crate::listing::Cursor;
use crate::record::{Data, Event};
use crate::refusal::Refusal;
use crate::render;

const MAX_TYPES: usize = 20;

/// `GET /v1/events`, newest first, with the filters `type`, `types`, `created` and `delivery_success`.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let mut kinds = params.texts("types")?;
    if let Some(kind) = params.text("type")? {
        if !kinds.is_empty() {
            return Err(Refusal::exclusive("type", "types"));
        }
        kinds.push(kind);
    }
    if kinds.len() > MAX_TYPES {
        return Err(Refusal::parameter("parameter_invalid", "types", "At most 20 types are allowed."));
    }
    let delivered = params.boolean("delivery_success")?;
    params.finish()?;
    let data = desk.data();
    cursor.page(
        &data.events,
        "/v1/events",
        |event| {
            (kinds.is_empty() || kinds.iter().any(|kind| kind_matches(kind, &event.kind)))
                && delivered.is_none_or(|wanted| wanted == is_delivered(data, event))
        },
        |event| render::event(event, pending(data, event)),
    )
}

/// `GET /v1/events/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    let data = desk.data();
    let event = data.events.get(id).ok_or_else(|| Refusal::missing("event", "id", id))?;
    Ok(render::event(event, pending(data, event)))
}

fn pending(data: &Data, event: &Event) -> u8 {
    u8::from(data.undelivered.contains(&event.id))
}

/// What still waits and what was given up has not been delivered.
fn is_delivered(data: &Data, event: &Event) -> bool {
    !event.given_up && pending(data, event) == 0
}

/// `charge.*` stands for every event about charges.
fn kind_matches(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == wanted,
    }
}
