//! What the merchant has at the provider.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::disputes;
use crate::form::Params;
use crate::record::{ChargeStatus, DisputeStatus};
use crate::refusal::Refusal;

/// `GET /v1/balance`, by currency: what was charged less what was refunded or is disputed, and what is still on its
/// way.
pub(crate) fn retrieve(desk: &mut Desk<'_>, params: Params) -> Result<Value, Refusal> {
    params.finish()?;
    let data = desk.data();
    let mut available: BTreeMap<&str, i64> = BTreeMap::from([("usd", 0)]);
    let mut pending = available.clone();
    for charge in data.charges.rows() {
        let (sums, amount) = match charge.status {
            ChargeStatus::Succeeded => {
                let disputed = disputes::sum(data, charge, |status| status != DisputeStatus::Won);
                (&mut available, charge.amount - charge.amount_refunded - disputed)
            }
            ChargeStatus::Pending => (&mut pending, charge.amount),
            ChargeStatus::Failed => continue,
        };
        *sums.entry(&charge.currency).or_default() += amount;
    }
    Ok(json!({
        "object": "balance",
        "available": funds(available),
        "pending": funds(pending),
        "livemode": false,
    }))
}

fn funds(sums: BTreeMap<&str, i64>) -> Vec<Value> {
    let fund = |(currency, amount)| {
        let sources = json!({ "card": amount });
        json!({ "amount": amount, "currency": currency, "source_types": sources })
    };
    sums.into_iter().map(fund).collect()
}
