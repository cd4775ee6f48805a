//! What pages cost.

use quire_fault::{Rule, Violation};
use sha2::{Digest, Sha256};

use crate::currency::Currency;
use crate::error::PaymentError;

/// The most the provider takes in one payment: eight digits.
pub const MAX_AMOUNT_MINOR: i64 = 99_999_999;

/// The price list. The bounds of pages are only shown here: the document service decides at order time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pricing {
    /// Price of one page in minor units, at least 1.
    pub page_minor: i64,
    pub currency: Currency,
    pub min_pages: i32,
    pub max_pages: i32,
}

/// A price for a number of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    pub pages: i32,
    pub unit_minor: i64,
    pub total_minor: i64,
    pub currency: Currency,
}

impl Pricing {
    /// The version of the price table: the same prices have the same version, in every process.
    pub(crate) fn version(&self) -> String {
        let table = format!("page={} {}", self.page_minor, self.currency.code());
        hex::encode(&Sha256::digest(table)[..6])
    }

    /// The price of a number of pages.
    ///
    /// # Errors
    /// `pages` is missing or outside 1..=`max_pages`.
    pub fn quote(&self, pages: Option<i32>) -> Result<Quote, PaymentError> {
        let Some(pages) = pages else {
            return Err(PaymentError::Invalid(vec![Violation::new("pages", Rule::Missing)]));
        };
        if let Some(violation) = Violation::range("pages", pages.into(), 1, self.max_pages.into()) {
            return Err(PaymentError::Invalid(vec![violation]));
        }
        let total_minor =
            self.page_minor.checked_mul(pages.into()).filter(|total| *total <= MAX_AMOUNT_MINOR);
        let total_minor = total_minor.ok_or(PaymentError::TooExpensive)?;
        Ok(Quote { pages, unit_minor: self.page_minor, total_minor, currency: self.currency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pricing(page_minor: i64) -> Pricing {
        let currency = Currency::parse("EUR").unwrap();
        Pricing { page_minor, currency, min_pages: 3, max_pages: 1000 }
    }

    #[test]
    fn a_price_is_pages_times_the_price_of_a_page() {
        assert_eq!(pricing(50).quote(Some(12)).unwrap().total_minor, 600);
        assert_eq!(pricing(50).quote(Some(1000)).unwrap().total_minor, 50_000);
        assert_eq!(pricing(50).quote(Some(1)).unwrap().total_minor, 50);
    }

    #[test]
    fn only_other_prices_have_another_version() {
        assert_eq!(pricing(50).version(), Pricing { max_pages: 5, ..pricing(50) }.version());
        assert_ne!(pricing(50).version(), pricing(51).version());
        let yen = Currency::parse("JPY").unwrap();
        assert_ne!(pricing(50).version(), Pricing { currency: yen, ..pricing(50) }.version());
    }

    #[test]
    fn pages_outside_the_bounds_are_refused_with_the_bound() {
        for (pages, rule) in [
            (None, Rule::Missing),
            (Some(0), Rule::GreaterThanEqual(1)),
            (Some(-1), Rule::GreaterThanEqual(1)),
            (Some(i32::MIN), Rule::GreaterThanEqual(1)),
            (Some(1001), Rule::LessThanEqual(1000)),
        ] {
            match pricing(50).quote(pages) {
                Err(PaymentError::Invalid(violations)) => {
                    assert_eq!(violations, vec![Violation::new("pages", rule)]);
                }
                other => panic!("{pages:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn a_total_that_the_provider_cannot_take_is_refused_instead_of_wrapped() {
        assert!(matches!(pricing(i64::MAX).quote(Some(2)), Err(PaymentError::TooExpensive)));
        assert!(matches!(pricing(100_000).quote(Some(1000)), Err(PaymentError::TooExpensive)));
    }
}
