//! Currencies: how many digits their minor unit has, and which amounts are taken.

use crate::refusal::Refusal;

/// The most that one payment can be, in minor units of any currency.
pub(crate) const MAX_AMOUNT: i64 = 99_999_999;

/// Takes a currency code in any case, and gives it in Stripe's lower case.
pub(crate) fn parse(code: &str, param: &str) -> Result<String, Refusal> {
    let code = code.to_ascii_lowercase();
    if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Ok(code);
    }
    let message = "Invalid currency: a three-letter code is needed.";
    Err(Refusal::parameter("parameter_invalid", param, message))
}

/// Decimal digits of the minor unit at Stripe.
fn exponent(currency: &str) -> u32 {
    match currency {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd" | "vuv"
        | "xaf" | "xof" | "xpf" => 0,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    }
}

/// Amounts must be multiples of this. Source: Stripe's "Currencies", special cases.
fn step(currency: &str) -> i64 {
    match currency {
        // Two digits for compatibility only: there are no such coins.
        "isk" | "ugx" => 100,
        _ if exponent(currency) == 3 => 10,
        _ => 1,
    }
}

/// Refuses an amount that the currency does not have or that is out of bounds.
pub(crate) fn check(currency: &str, amount: i64, param: &str) -> Result<(), Refusal> {
    if amount < 1 {
        let message = "The amount must be more than zero.";
        return Err(Refusal::parameter("amount_too_small", param, message));
    }
    if amount > MAX_AMOUNT {
        let message = format!("The amount must be no more than {MAX_AMOUNT}.");
        return Err(Refusal::parameter("amount_too_large", param, message));
    }
    let step = step(currency);
    if amount % step != 0 {
        let message =
            format!("Invalid amount: amounts in {currency} are multiples of {step} in the minor unit.");
        return Err(Refusal::parameter("parameter_invalid_integer", param, message));
    }
    Ok(())
}

/// An amount in minor units as people write it, with the decimals that the currency has at Stripe.
pub(crate) fn show(amount: i64, currency: &str) -> String {
    let decimals = exponent(currency);
    let unit = 10_i64.pow(decimals);
    let currency = currency.to_ascii_uppercase();
    if decimals == 0 {
        return format!("{amount} {currency}");
    }
    let width = usize::try_from(decimals).unwrap_or(0);
    format!("{}.{:0width$} {currency}", amount / unit, amount % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(show(50, "usd"), "0.50 USD");
        assert_eq!(show(123_456, "eur"), "1234.56 EUR");
        assert_eq!(show(500, "jpy"), "500 JPY");
        assert_eq!(show(1_005, "kwd"), "1.005 KWD");
    }

    #[test]
    fn each_currency_takes_its_own_steps() {
        for (currency, amount, taken) in [
            ("usd", 1, true),
            ("usd", 0, false),
            ("usd", MAX_AMOUNT, true),
            ("usd", MAX_AMOUNT + 1, false),
            ("jpy", 1, true),
            ("kwd", 1_250, true),
            ("kwd", 1_255, false),
            ("isk", 500, true),
            ("isk", 550, false),
        ] {
            assert_eq!(check(currency, amount, "amount").is_ok(), taken, "{amount} {currency}");
        }
    }

    #[test]
    fn codes_have_three_letters() {
        assert_eq!(parse("Usd", "currency").unwrap(), "usd");
        for bad in ["", "us", "euro", "u1d"] {
            assert!(parse(bad, "currency").is_err(), "{bad}");
        }
    }
}
