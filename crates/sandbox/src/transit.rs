//! What happens to events on the way to the webhook.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::refusal::Refusal;

const MAX_DELAY_MS: u64 = 10 * 60 * 1000;
const MAX_SKEW_SECONDS: i64 = 10 * 365 * 24 * 60 * 60;

/// A bad line to the webhook. By default it is perfect. What is drawn, is drawn from the seed of the
/// [`Behaviour`](crate::Behaviour), event by event, and begins again whenever one of the two is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transit {
    /// The first delivery of each event waits for a time drawn evenly from 0 to this many milliseconds. At most ten
    /// minutes.
    pub max_delay_ms: u64,
    /// Of a hundred events, so many lose their first delivery, with all its copies.
    pub loss_percent: u8,
    /// Every event loses so many deliveries, the first ones.
    pub lose_first: u32,
    /// What loses a delivery is never tried again: only the list of events knows of it.
    pub give_up: bool,
    /// Of a hundred events, so many come first with a signature made with a secret that no one knows.
    pub wrong_signature_percent: u8,
    /// Added to the time in the signature, in seconds; negative for the past. At most ten years.
    pub clock_skew_seconds: i64,
}

/// What was drawn for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    /// So many deliveries are lost, the first ones.
    pub(crate) lost: u32,
    pub(crate) forged_first: bool,
}

impl Transit {
    /// Refuses what is out of bounds.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let refuse =
            |param: &str, message: &str| Err(Refusal::parameter("parameter_invalid", param, message));
        if self.max_delay_ms > MAX_DELAY_MS {
            return refuse("max_delay_ms", "At most 600000 milliseconds are allowed.");
        }
        if self.loss_percent > 100 {
            return refuse("loss_percent", "At most 100 percent are allowed.");
        }
        if self.wrong_signature_percent > 100 {
            return refuse("wrong_signature_percent", "At most 100 percent are allowed.");
        }
        if self.clock_skew_seconds.checked_abs().is_none_or(|skew| skew > MAX_SKEW_SECONDS) {
            return refuse("clock_skew_seconds", "At most ten years, 315360000 seconds, are allowed.");
        }
        Ok(())
    }

    /// Draws for the next event. Always as many numbers, so that one setting does not shift what another gives.
    pub(crate) fn draw(&self, dice: &mut Dice) -> Fate {
        let delay = Duration::from_millis(dice.below(self.max_delay_ms.saturating_add(1)));
        let lost = u32::from(dice.percent(self.loss_percent)).max(self.lose_first);
        Fate { delay, lost, forged_first: dice.percent(self.wrong_signature_percent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(transit: &Transit, seed: u64) -> Vec<Fate> {
        let mut dice = Dice::new(seed);
        (0..200).map(|_| transit.draw(&mut dice)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_fates_each_time() {
        let transit = Transit { max_delay_ms: 50, loss_percent: 40, ..Transit::default() };
        assert_eq!(fates(&transit, 1), fates(&transit, 1));
        assert_ne!(fates(&transit, 1), fates(&transit, 2));
        assert!(fates(&transit, 1).iter().all(|fate| fate.delay <= Duration::from_millis(50)));
        let late = fates(&transit, 1).iter().filter(|fate| fate.delay > Duration::from_millis(25)).count();
        assert!((60..140).contains(&late), "{late}");
    }

    #[test]
    fn losses_do_not_depend_on_the_delay() {
        let lost = |max_delay_ms| {
            let transit = Transit { max_delay_ms, loss_percent: 40, ..Transit::default() };
            fates(&transit, 5).iter().map(|fate| fate.lost).collect::<Vec<_>>()
        };
        assert_eq!(lost(0), lost(1_000));
        assert!((50..110).contains(&lost(0).iter().sum::<u32>()));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        for (transit, param) in [
            (Transit { max_delay_ms: 600_001, ..Transit::default() }, "max_delay_ms"),
            (Transit { loss_percent: 101, ..Transit::default() }, "loss_percent"),
            (Transit { wrong_signature_percent: 101, ..Transit::default() }, "wrong_signature_percent"),
            (Transit { clock_skew_seconds: i64::MIN, ..Transit::default() }, "clock_skew_seconds"),
        ] {
            assert_eq!(transit.check().unwrap_err().body()["error"]["param"], param);
        }
        assert!(Transit { clock_skew_seconds: -300, lose_first: 9, ..Transit::default() }.check().is_ok());
    }
}
