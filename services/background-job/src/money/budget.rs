//! How much may be spent.

use super::ledger::Spent;

/// Upper bounds in millionths of a US dollar; 0: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budgets {
    /// For one job. `QUIRE_BUDGET_PER_JOB_MICRO`.
    pub job: i64,
    /// The same for each page of it; the lower of the two holds. `QUIRE_BUDGET_PER_PAGE_MICRO`.
    pub page: i64,
    /// For all jobs of one user on one day, UTC. `QUIRE_BUDGET_PER_USER_DAY_MICRO`.
    pub user_day: i64,
    /// For everything on one day, UTC. `QUIRE_BUDGET_PER_DAY_MICRO`.
    pub day: i64,
}

/// Whose budget does not hold what the next call may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    Job,
    UserDay,
    Day,
}

impl Exhausted {
    /// For the customer.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Job => "the budget of this job is used up",
            Self::UserDay => "the budget of this user for today is used up",
            Self::Day => "the budget of this installation for today is used up",
        }
    }
}

impl Budgets {
    /// Whether sums over more than one job are bounded, so that reservations of different jobs must queue up.
    pub fn are_shared(&self) -> bool {
        self.user_day > 0 || self.day > 0
    }

    /// What a job of so many pages may cost; 0: no bound.
    pub fn of_job(&self, pages: i32) -> i64 {
        let by_pages = self.page.saturating_mul(i64::from(pages.max(1)));
        match (self.job, by_pages) {
            (0, bound) | (bound, 0) => bound,
            (by_job, by_pages) => by_job.min(by_pages),
        }
    }

    /// Whether `amount` more fits beside what is spent and reserved. The first bound that it breaks is named.
    pub fn check(&self, pages: i32, spent: Spent, amount: i64) -> Result<(), Exhausted> {
        let breaks = |bound: i64, spent: i64| bound > 0 && spent.saturating_add(amount) > bound;
        if breaks(self.of_job(pages), spent.job) {
            Err(Exhausted::Job)
        } else if breaks(self.user_day, spent.user_day) {
            Err(Exhausted::UserDay)
        } else if breaks(self.day, spent.day) {
            Err(Exhausted::Day)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bound_of_a_job_holds_and_nothing_is_no_bound() {
        let budgets = |job, page| Budgets { job, page, ..Budgets::default() };
        assert_eq!(budgets(0, 0).of_job(10), 0);
        assert_eq!(budgets(500, 0).of_job(10), 500);
        assert_eq!(budgets(0, 30).of_job(10), 300);
        assert_eq!(budgets(500, 30).of_job(10), 300);
        assert_eq!(budgets(200, 30).of_job(10), 200);
    }

    #[test]
    fn what_fits_exactly_fits_and_the_first_broken_bound_is_named() {
        let budgets = Budgets { job: 100, page: 0, user_day: 150, day: 200 };
        let spent = |job, user_day, day| Spent { job, user_day, day };
        assert_eq!(budgets.check(1, spent(60, 60, 60), 40), Ok(()));
        assert_eq!(budgets.check(1, spent(61, 61, 61), 40), Err(Exhausted::Job));
        assert_eq!(budgets.check(1, spent(0, 111, 111), 40), Err(Exhausted::UserDay));
        assert_eq!(budgets.check(1, spent(0, 0, 161), 40), Err(Exhausted::Day));
        assert_eq!(Budgets::default().check(1, spent(i64::MAX, i64::MAX, 0), i64::MAX), Ok(()));
    }
}
