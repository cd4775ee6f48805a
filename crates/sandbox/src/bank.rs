//! How the banks behind the provider behave: what takes time, and how it ends.

use serde::{Deserialize, Serialize};

use crate::desk::Desk;
use crate::methods::Method;
use crate::record::{Charge, ChargeStatus, RefundStatus};
use crate::{payments, refunds};

/// How quickly money moves. By default refunds succeed at once, and a bank debit waits until it is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bank {
    /// What new refunds begin with. Test cards that are made for refunds go before this.
    pub refunds: RefundMode,
    /// Seconds after which the clock decides what is under way, each as its test payment method says. If absent,
    /// everything waits to be decided by hand.
    pub settle_after_seconds: Option<u32>,
}

/// What a new refund begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundMode {
    /// It has succeeded.
    #[default]
    Immediate,
    /// It is pending until it is decided.
    Pending,
}

/// How something that is under way ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Succeed,
    Fail,
}

/// Decides what has been under way for long enough.
pub(crate) fn settle_due(desk: &mut Desk<'_>) {
    let Some(wait) = desk.bank.settle_after_seconds else { return };
    let latest = desk.now - i64::from(wait);
    let data = desk.data();
    let pending = |charge: &&Charge| charge.status == ChargeStatus::Pending && charge.created <= latest;
    let payments: Vec<(String, Decision)> = data
        .charges
        .rows()
        .iter()
        .filter(pending)
        .map(|charge| {
            let fails = charge.method == Method::BankDebitFails;
            (charge.intent.clone(), if fails { Decision::Fail } else { Decision::Succeed })
        })
        .collect();
    let refunds: Vec<(String, Decision)> = data
        .refunds
        .rows()
        .iter()
        .filter(|refund| refund.created <= latest)
        .filter_map(|refund| {
            let method = data.charges.get(&refund.charge)?.method;
            let decision = match refund.status {
                RefundStatus::Pending => Decision::Succeed,
                RefundStatus::Succeeded if method == Method::RefundFails => Decision::Fail,
                _ => return None,
            };
            Some((refund.id.clone(), decision))
        })
        .collect();
    // Each was found in the state that can be decided.
    for (intent, decision) in payments {
        let _ = payments::decide(desk, &intent, decision);
    }
    for (refund, decision) in refunds {
        let _ = refunds::decide(desk, &refund, decision);
    }
}
