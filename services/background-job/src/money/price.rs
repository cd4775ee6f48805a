//! What a model costs.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::writer::Usage;

/// Prices are for this many tokens.
const PER_TOKENS: i128 = 1_000_000;
/// Millionths of a US dollar in a dollar.
const MICROS: i64 = 1_000_000;
/// No model costs as many dollars.
const MAX_DOLLARS: i64 = 1_000_000;

/// The price of a model in millionths of a US dollar for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub input: i64,
    pub output: i64,
}

impl Price {
    /// What these tokens cost in millionths of a US dollar, rounded up.
    pub fn cost(self, usage: Usage) -> i64 {
        let share = |tokens: i64, price: i64| i128::from(tokens.max(0)) * i128::from(price);
        let sum = share(usage.input_tokens, self.input) + share(usage.output_tokens, self.output);
        i64::try_from((sum + PER_TOKENS - 1) / PER_TOKENS).unwrap_or(i64::MAX)
    }
}

/// Prices by the model's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// `None`: nobody said what the model costs, so it must not be asked.
    pub fn of(&self, model: &str) -> Option<Price> {
        self.0.get(model).copied()
    }
}

/// Why a text is no table of prices.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no price: write model=input/output in US dollars for a million tokens, or model=0")]
pub struct PriceError(String);

/// `gpt-4o-mini=0.15/0.60`, several between commas; a model that costs nothing is `llama3.1:8b=0`.
impl FromStr for Prices {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let read = |entry: &str| {
            let (model, price) = entry.rsplit_once('=')?;
            let (input, output) = match price.split_once('/') {
                Some((input, output)) => (micros(input)?, micros(output)?),
                // One number for both would be a guess, unless it is nothing.
                None => (micros(price).filter(|micros| *micros == 0)?, 0),
            };
            let model = model.trim();
            (!model.is_empty()).then(|| (model.to_owned(), Price { input, output }))
        };
        entries
            .map(|entry| read(entry).ok_or_else(|| PriceError(entry.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Millionths of a decimal number that is not negative and has at most six decimals.
fn micros(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 6 {
        return None;
    }
    let whole: i64 = whole.parse().ok().filter(|dollars| *dollars <= MAX_DOLLARS)?;
    let decimals: i64 = format!("{decimals:0<6}").parse().ok()?;
    Some(whole * MICROS + decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_exactly() {
        let prices: Prices = "gpt-4o-mini=0.15/0.60, llama3.1:8b=0,x=12/0.000001".parse().unwrap();
        assert_eq!(prices.of("gpt-4o-mini"), Some(Price { input: 150_000, output: 600_000 }));
        assert_eq!(prices.of("llama3.1:8b"), Some(Price { input: 0, output: 0 }));
        assert_eq!(prices.of("x"), Some(Price { input: 12_000_000, output: 1 }));
        assert_eq!(prices.of("gpt-4o"), None);
    }

    #[test]
    fn what_is_no_price_is_refused_with_the_entry() {
        for wrong in
            ["x", "x=", "x=1", "x=-1/2", "=1/2", "x=1/2/3", "x=0.0000001/1", "x=1e3/1", "x=99999999/1"]
        {
            assert_eq!(
                format!("a=0,{wrong}").parse::<Prices>(),
                Err(PriceError(wrong.to_owned())),
                "{wrong}"
            );
        }
    }

    #[test]
    fn costs_are_rounded_up_and_never_overflow() {
        let price = Price { input: 150_000, output: 600_000 };
        let cost = |input_tokens, output_tokens| price.cost(Usage { input_tokens, output_tokens });
        assert_eq!(cost(1_000_000, 1_000_000), 750_000);
        assert_eq!(cost(1, 0), 1);
        assert_eq!(cost(0, 0), 0);
        assert_eq!(cost(-5, 0), 0);
        assert_eq!(
            Price { input: i64::MAX, output: 0 }.cost(Usage { input_tokens: i64::MAX, output_tokens: 0 }),
            i64::MAX
        );
    }
}
