//! The steps of a job. Each looks for its checkpoint first, and does only what is missing.

mod fallback;
pub mod finish;
mod glyphs;
pub mod outline;
pub mod part;
pub mod plan;
pub mod review;
pub mod section;
pub mod sections;
pub mod typeset;

/// Percent when the plan is done.
const PLANNED: i32 = 2;
/// Percent when every section is done.
const WRITTEN: i32 = 85;
/// Percent when the files are stored.
const TYPESET: i32 = 95;

/// Percent after `done` of `total` sections.
fn sections_percent(done: usize, total: usize) -> i32 {
    let span = usize::try_from(WRITTEN - PLANNED).expect("a share of a hundred");
    PLANNED + i32::try_from(span * done.min(total) / total.max(1)).expect("a share of a hundred")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_never_falls_and_ends_at_its_share() {
        for total in [1, 7, 400] {
            let percents: Vec<i32> = (0..=total).map(|done| sections_percent(done, total)).collect();
            assert!(percents.windows(2).all(|pair| pair[0] <= pair[1]));
            assert_eq!((percents[0], percents[total]), (PLANNED, WRITTEN));
        }
    }
}
