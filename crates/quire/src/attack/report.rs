//! What an attack found: one line for each check.

use std::fmt;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The deployment held.
    Pass,
    /// It did not.
    Fail,
    /// The check could not be made, and says nothing about the deployment.
    Skip,
}

/// One check. Holds no token, link, code or verifier, so it may be shown to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The scenario.
    pub row: u8,
    pub outcome: Outcome,
    pub what: String,
    /// What was answered instead, why it was left out, or what was measured. Often empty.
    pub detail: String,
}

/// Every check in the order in which it was made.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub lines: Vec<Line>,
}

/// Why a check did not pass.
#[derive(Debug, Clone)]
pub(crate) enum Finding {
    /// The deployment did what it should not.
    Wrong(String),
    /// It could not be found out.
    Untried(String),
}

/// The end of a check, or of a step towards one.
pub(crate) type Verdict<T = ()> = Result<T, Finding>;

pub(crate) fn wrong(what: impl Into<String>) -> Finding {
    Finding::Wrong(what.into())
}

pub(crate) fn untried(why: impl Into<String>) -> Finding {
    Finding::Untried(why.into())
}

/// The second step must hold too. What is wrong counts for more than what could not be tried.
pub(crate) fn both(first: Verdict, second: Verdict) -> Verdict {
    match (first, second) {
        (Err(Finding::Untried(_)), Err(Finding::Wrong(what))) | (Err(Finding::Wrong(what)), _) => {
            Err(Finding::Wrong(what))
        }
        (first, second) => first.and(second),
    }
}

impl Report {
    /// How many lines ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.lines.iter().filter(|line| line.outcome == outcome).count()
    }

    /// Whether nothing failed. An attack of which nothing could be tried proves nothing.
    pub fn held(&self) -> bool {
        self.count(Outcome::Fail) == 0 && self.count(Outcome::Pass) > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}  {:>2}  {}", self.outcome, self.row, self.what)?;
        if self.detail.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.detail) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.count(Outcome::Pass), self.count(Outcome::Fail));
        write!(formatter, "{passed} passed, {failed} failed, {} skipped", self.count(Outcome::Skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(row: u8, outcome: Outcome, detail: &str) -> Line {
        Line { row, outcome, what: "wrong audience".to_owned(), detail: detail.to_owned() }
    }

    #[test]
    fn a_line_names_outcome_scenario_check_and_what_was_seen() {
        assert_eq!(line(4, Outcome::Pass, "").to_string(), "pass   4  wrong audience");
        let failed = line(18, Outcome::Fail, "answered 200, expected 401").to_string();
        assert_eq!(failed, "FAIL  18  wrong audience: answered 200, expected 401");
    }

    #[test]
    fn an_attack_that_tried_nothing_has_not_shown_that_anything_holds() {
        let mut report = Report::default();
        assert!(!report.held());
        report.lines.push(line(1, Outcome::Skip, "no mailbox"));
        assert!(!report.held());
        report.lines.push(line(2, Outcome::Pass, ""));
        assert!(report.held());
        report.lines.push(line(3, Outcome::Fail, ""));
        assert!(!report.held());
        assert_eq!(report.to_string(), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn what_is_wrong_counts_for_more_than_what_could_not_be_tried() {
        let combined = both(Err(untried("no mailbox")), Err(wrong("answered 200")));
        assert!(matches!(combined, Err(Finding::Wrong(_))));
        assert!(matches!(both(Ok(()), Err(untried("no mailbox"))), Err(Finding::Untried(_))));
        assert!(both(Ok(()), Ok(())).is_ok());
    }
}
