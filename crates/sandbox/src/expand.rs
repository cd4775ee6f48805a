//! `expand[]`: whole objects in place of their ids.

use serde_json::Value;

use crate::desk::Desk;
use crate::form::Params;
use crate::refusal::Refusal;
use crate::render;

/// How many fields one request may expand. As many as Stripe allows in depth and more than any object has.
const MAX_PATHS: usize = 20;

/// The fields that a request wants in full.
pub(crate) struct Expand(Vec<String>);

impl Expand {
    /// Takes `expand` out of the parameters of a request for one object with these expandable fields.
    pub(crate) fn take(params: &mut Params, fields: &[&str]) -> Result<Self, Refusal> {
        Self::take_below(params, "", fields)
    }

    /// The same for a list of such objects, whose fields are written `data.<field>`.
    pub(crate) fn take_for_list(params: &mut Params, fields: &[&str]) -> Result<Self, Refusal> {
        Self::take_below(params, "data.", fields)
    }

    fn take_below(params: &mut Params, prefix: &str, fields: &[&str]) -> Result<Self, Refusal> {
        let paths = params.texts("expand")?;
        if paths.len() > MAX_PATHS {
            return Err(Refusal::parameter(
                "parameter_invalid",
                "expand",
                "At most 20 fields can be expanded.",
            ));
        }
        for path in &paths {
            let field = path.strip_prefix(prefix);
            if field.is_none_or(|field| !fields.contains(&field)) {
                let known: Vec<String> = fields.iter().map(|field| format!("{prefix}{field}")).collect();
                let message =
                    format!("This property cannot be expanded ({path}). Here: {}.", known.join(", "));
                return Err(Refusal::parameter("parameter_invalid", "expand", message));
            }
        }
        Ok(Self(paths))
    }

    /// Puts the objects in.
    pub(crate) fn apply(&self, desk: &Desk<'_>, mut body: Value) -> Value {
        for path in &self.0 {
            expand(desk, &mut body, path);
        }
        body
    }
}

fn expand(desk: &Desk<'_>, value: &mut Value, path: &str) {
    if let Value::Array(items) = value {
        return items.iter_mut().for_each(|item| expand(desk, item, path));
    }
    let (field, rest) = path.split_once('.').map_or((path, None), |(field, rest)| (field, Some(rest)));
    let Some(inner) = value.get_mut(field) else { return };
    if let Some(object) = inner.as_str().and_then(|id| object(desk, id)) {
        *inner = object;
    }
    if let Some(rest) = rest {
        expand(desk, inner, rest);
    }
}

fn object(desk: &Desk<'_>, id: &str) -> Option<Value> {
    let data = desk.data();
    let charge = data.charges.get(id).map(render::charge);
    charge.or_else(|| data.intents.get(id).map(|intent| render::intent(intent, desk.public_url)))
}
