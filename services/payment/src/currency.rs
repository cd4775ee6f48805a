//! ISO 4217 currencies: how many digits their minor unit has.

use std::fmt;

/// Amounts are kept in minor units everywhere; the exponent is needed only to show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    code: &'static str,
    exponent: u32,
}

/// No minor unit: 50 JPY is fifty yen. ISK, MGA and UGX are left out on purpose: the provider counts them
/// with other digits than ISO 4217 does, and an amount must mean the same on both sides.
const ZERO: [&str; 14] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
const TWO: [&str; 40] = [
    "AED", "ARS", "AUD", "BAM", "BGN", "BRL", "CAD", "CHF", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP",
    "GEL", "HKD", "HUF", "IDR", "ILS", "INR", "KES", "KZT", "MAD", "MDL", "MXN", "MYR", "NGN", "NOK", "NZD",
    "PHP", "PLN", "RON", "RSD", "SAR", "SEK", "SGD", "THB", "TRY", "USD",
];
const TWO_MORE: [&str; 5] = ["PEN", "TWD", "UAH", "UYU", "ZAR"];
const THREE: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

impl Currency {
    /// The currency of a three-letter code in any case, if it is supported.
    pub fn parse(code: &str) -> Option<Self> {
        let code = code.to_ascii_uppercase();
        let tables: [(&[&'static str], u32); 4] = [(&ZERO, 0), (&TWO, 2), (&TWO_MORE, 2), (&THREE, 3)];
        for (table, exponent) in tables {
            if let Some(code) = table.iter().find(|known| **known == code) {
                return Some(Self { code, exponent });
            }
        }
        None
    }

    /// Upper case.
    pub fn code(self) -> &'static str {
        self.code
    }

    /// Decimal digits of the minor unit.
    pub fn exponent(self) -> u32 {
        self.exponent
    }

    /// The provider takes only multiples of this: its third digit after the point must be 0.
    pub(crate) fn step(self) -> i64 {
        if self.exponent == 3 { 10 } else { 1 }
    }

    /// An amount for people: `0.50 EUR`, `50 JPY`, `1.250 KWD`.
    pub fn show(self, amount_minor: i64) -> String {
        let unit = 10_i64.pow(self.exponent);
        let (whole, rest) = (amount_minor / unit, (amount_minor % unit).abs());
        match self.exponent {
            0 => format!("{whole} {}", self.code),
            digits => format!("{whole}.{rest:0width$} {}", self.code, width = digits as usize),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_is_shown_with_its_own_digits() {
        assert_eq!(Currency::parse("eur").unwrap().show(50), "0.50 EUR");
        assert_eq!(Currency::parse("JPY").unwrap().show(50), "50 JPY");
        assert_eq!(Currency::parse("Kwd").unwrap().show(1250), "1.250 KWD");
        assert_eq!(Currency::parse("KWD").unwrap().exponent(), 3);
    }

    #[test]
    fn unknown_codes_and_those_that_the_provider_counts_differently_are_refused() {
        for code in ["", "EU", "EURO", "XYZ", "ISK", "UGX", "MGA"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }
}
