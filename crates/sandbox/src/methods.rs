//! Test payment methods: cards and bank accounts whose id or number says how a payment with them goes.
//!
//! Ids and numbers are those of Stripe's documentation of test cards and of ACH and SEPA test accounts.

use serde::{Deserialize, Serialize};

use crate::form::Params;
use crate::refusal::Refusal;

/// The type of payment method that answers at once.
const CARD: &str = "card";

/// Currencies with a type of payment method that takes days to answer.
const BANK_DEBITS: [(&str, &str); 5] = [
    ("usd", "us_bank_account"),
    ("eur", "sepa_debit"),
    ("gbp", "bacs_debit"),
    ("cad", "acss_debit"),
    ("aud", "au_becs_debit"),
];

const METHODS: [(&str, Method); 16] = [
    ("pm_card_visa", Method::Card),
    ("pm_card_mastercard", Method::Card),
    ("pm_card_chargeDeclined", Method::Declined),
    ("pm_card_visa_chargeDeclined", Method::Declined),
    ("pm_card_chargeDeclinedInsufficientFunds", Method::DeclinedForFunds),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", Method::DeclinedForFunds),
    ("pm_card_authenticationRequired", Method::Authenticated),
    ("pm_card_threeDSecure2Required", Method::Authenticated),
    ("pm_card_createDispute", Method::Disputed),
    ("pm_card_pendingRefund", Method::RefundPending),
    ("pm_card_refundFail", Method::RefundFails),
    ("pm_usBankAccount_success", Method::BankDebit),
    ("pm_usBankAccount_accountClosed", Method::BankDebitFails),
    ("pm_usBankAccount_noAccount", Method::BankDebitFails),
    ("pm_usBankAccount_insufficientFunds", Method::BankDebitFails),
    ("pm_usBankAccount_debitNotAuthorized", Method::BankDebitFails),
];

const CARD_NUMBERS: [(&str, Method); 9] = [
    ("4242424242424242", Method::Card),
    ("5555555555554444", Method::Card),
    ("4000000000000002", Method::Declined),
    ("4000000000009995", Method::DeclinedForFunds),
    ("4000002760003184", Method::Authenticated),
    ("4000002500003155", Method::Authenticated),
    ("4000000000000259", Method::Disputed),
    ("4000000000007726", Method::RefundPending),
    ("4000000000005126", Method::RefundFails),
];

/// Bank accounts that cannot be debited. Any other account can.
const FAILING_ACCOUNTS: [&str; 5] =
    ["000111111113", "000111111116", "000222222227", "000333333335", "AT861904300235473202"];

/// A payment method, as far as it matters to what becomes of a payment. Numbers are not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    #[default]
    Card,
    Declined,
    DeclinedForFunds,
    /// The buyer's bank asks the buyer first.
    Authenticated,
    /// The buyer disputes the payment at once.
    Disputed,
    /// Refunds take time.
    RefundPending,
    /// Refunds seem to succeed, and fail later.
    RefundFails,
    BankDebit,
    BankDebitFails,
}

/// Why a payment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    Declined,
    InsufficientFunds,
    /// The buyer did not pass the authentication.
    Authentication,
    /// The bank account could not be debited.
    BankAccount,
}

/// How a confirmed payment goes on.
pub(crate) enum Course {
    Succeeds,
    Fails(Failure),
    /// The buyer has to do something.
    Asks,
    /// The bank answers later.
    Waits,
}

impl Method {
    /// Takes `payment_method` or `payment_method_data` out of the parameters.
    pub(crate) fn take(params: &mut Params) -> Result<Option<Self>, Refusal> {
        let id = params.text("payment_method")?;
        let data = params.group("payment_method_data")?;
        match id {
            None if data.is_empty() => Ok(None),
            None => Self::described(data).map(Some),
            Some(_) if !data.is_empty() => Err(Refusal::exclusive("payment_method", "payment_method_data")),
            Some(id) => Self::find(&METHODS, &id)
                .map(Some)
                .ok_or_else(|| Refusal::missing("PaymentMethod", "payment_method", &id)),
        }
    }

    /// The id that clients know it by.
    pub(crate) fn id(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(id, _)| id)
    }

    /// The type's name at Stripe, which for bank debits depends on the currency.
    pub(crate) fn type_name(self, currency: &str) -> &'static str {
        if self.is_bank_debit() { bank_debit(currency).unwrap_or("bank_debit") } else { CARD }
    }

    /// What a confirmed payment with it does.
    pub(crate) fn course(self) -> Course {
        match self {
            Self::Card | Self::Disputed | Self::RefundPending | Self::RefundFails => Course::Succeeds,
            Self::Declined => Course::Fails(Failure::Declined),
            Self::DeclinedForFunds => Course::Fails(Failure::InsufficientFunds),
            Self::Authenticated => Course::Asks,
            Self::BankDebit | Self::BankDebitFails => Course::Waits,
        }
    }

    pub(crate) fn is_bank_debit(self) -> bool {
        matches!(self, Self::BankDebit | Self::BankDebitFails)
    }

    /// The method of `payment_method_data`: the type, and a number below the type's name.
    fn described(mut data: Params) -> Result<Self, Refusal> {
        let kind = data.required_text("type")?;
        let known = kind == CARD || BANK_DEBITS.iter().any(|(_, debit)| *debit == kind);
        if !known {
            let message = format!("The payment method type provided: {kind} is invalid.");
            return Err(Refusal::parameter("parameter_invalid", data.full("type"), message));
        }
        let mut details = data.group(&kind)?;
        // Whatever the buyer is asked for: only the number decides what happens.
        data.group("billing_details")?;
        data.finish()?;
        if kind != CARD {
            let iban = details.text("iban")?;
            let account = details.text("account_number")?.or(iban).unwrap_or_default();
            let fails = FAILING_ACCOUNTS.contains(&account.as_str());
            return Ok(if fails { Self::BankDebitFails } else { Self::BankDebit });
        }
        let number = details.required_text("number")?;
        // Never the number itself: a real one must not come back in an answer.
        Self::find(&CARD_NUMBERS, &number).ok_or_else(|| {
            Refusal::parameter(
                "incorrect_number",
                details.full("number"),
                "Your card number is incorrect: the sandbox takes only test cards.",
            )
        })
    }

    fn find(table: &[(&str, Self)], key: &str) -> Option<Self> {
        table.iter().find(|(known, _)| *known == key).map(|(_, method)| *method)
    }
}

impl Failure {
    /// The code of the error, and of the failed charge.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Declined | Self::InsufficientFunds => "card_declined",
            Self::Authentication => "payment_intent_authentication_failure",
            Self::BankAccount => "payment_intent_payment_attempt_failed",
        }
    }

    pub(crate) fn decline_code(self) -> Option<&'static str> {
        match self {
            Self::Declined => Some("generic_decline"),
            Self::InsufficientFunds => Some("insufficient_funds"),
            Self::Authentication | Self::BankAccount => None,
        }
    }

    /// The type of the error at Stripe.
    pub(crate) fn kind(self) -> &'static str {
        if self.decline_code().is_some() { "card_error" } else { "invalid_request_error" }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Declined => "Your card was declined.",
            Self::InsufficientFunds => "Your card has insufficient funds.",
            Self::Authentication => "The provided PaymentMethod has failed authentication.",
            Self::BankAccount => "The bank account could not be debited.",
        }
    }
}

/// Whether a buyer can pay by bank debit.
pub(crate) fn takes_bank_debit(types: &[String], currency: &str) -> bool {
    bank_debit(currency).is_some_and(|debit| types.iter().any(|kind| kind == debit))
}

/// The type of bank debit in a currency, if there is one.
fn bank_debit(currency: &str) -> Option<&'static str> {
    BANK_DEBITS.iter().find(|(known, _)| *known == currency).map(|(_, debit)| *debit)
}

/// The types of payment method that are taken: those that were asked for, or all that the currency has.
pub(crate) fn accepted_types(asked: Vec<String>, currency: &str) -> Result<Vec<String>, Refusal> {
    if asked.is_empty() {
        return Ok(std::iter::once(CARD).chain(bank_debit(currency)).map(str::to_owned).collect());
    }
    for kind in &asked {
        if kind != CARD && bank_debit(currency) != Some(kind) {
            let debit = bank_debit(currency).map(|debit| format!(" and {debit}")).unwrap_or_default();
            let message = format!(
                "The payment method type provided: {kind} is invalid. In {currency} the sandbox takes {CARD}{debit}."
            );
            return Err(Refusal::parameter("parameter_invalid", "payment_method_types", message));
        }
    }
    Ok(asked)
}
