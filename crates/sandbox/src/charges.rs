//! Charges, which payments make.

use serde_json::Value;

use crate::desk::Desk;
use crate::expand::Expand;
use crate::form::Params;
use crate::listing::Cursor;
use crate::record::Charge;
use crate::refusal::Refusal;
use crate::render;

const EXPANDABLE: [&str; 1] = ["payment_intent"];

/// `GET /v1/charges/{id}`.
pub(crate) fn retrieve(desk: &mut Desk<'_>, id: &str, mut params: Params) -> Result<Value, Refusal> {
    let expand = Expand::take(&mut params, &EXPANDABLE)?;
    params.finish()?;
    let charge = desk.data().charges.get(id).ok_or_else(|| Refusal::missing("charge", "id", id))?;
    Ok(expand.apply(desk, render::charge(charge)))
}

/// `GET /v1/charges`, with the filter `payment_intent`. Failed charges are listed too.
pub(crate) fn list(desk: &mut Desk<'_>, mut params: Params) -> Result<Value, Refusal> {
    let cursor = Cursor::take(&mut params)?;
    let expand = Expand::take_for_list(&mut params, &EXPANDABLE)?;
    let intent = params.text("payment_intent")?;
    params.finish()?;
    let of_intent = |charge: &Charge| intent.as_ref().is_none_or(|intent| charge.intent == *intent);
    let page = cursor.page(&desk.data().charges, "/v1/charges", of_intent, render::charge)?;
    Ok(expand.apply(desk, page))
}
