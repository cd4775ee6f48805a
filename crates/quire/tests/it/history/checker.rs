//! Whether a history could have ended as it did.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::record::{Act, Entry, Phase};

/// Statuses of orders that were paid.
const PAID: [&str; 4] = ["paid", "delivered", "refund_pending", "refunded"];

/// What the databases say at the end.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// Statuses by order id.
    pub orders: BTreeMap<String, String>,
    /// The order id of each job.
    pub jobs: Vec<String>,
    /// Ids of the stored events.
    pub events: BTreeSet<String>,
    /// What the databases contradict by themselves.
    pub broken: Vec<String>,
}

/// When the databases were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whatever was lost on the way may still be missing.
    BeforeReconciling,
    AfterReconciling,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// The history itself makes no sense.
    Malformed(u64),
    /// An event was acknowledged and is not stored.
    EventLost(String),
    /// An event is stored that nobody delivered.
    EventInvented(String),
    /// A checkout was answered with an order that is not there.
    OrderLost(String),
    /// An order was paid at the provider, and here it was not.
    PaymentLost(String),
    /// An order is paid here that nobody paid.
    PaymentInvented(String),
    /// A paid order has no job.
    JobMissing(String),
    /// An order has several jobs.
    JobRepeated(String, usize),
    /// An order that was not paid has a job.
    JobInvented(String),
    Contradiction(String),
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub paid: usize,
    pub acknowledged: usize,
    /// Operations of which nobody knows whether they were done.
    pub unknown: usize,
    pub faults: usize,
}

/// # Errors
/// Everything that cannot have happened.
pub fn check(history: &[Entry], end: &End, when: When) -> Result<Tally, Vec<Violation>> {
    let mut violations = Vec::new();
    let operations = operations(history, &mut violations);
    let (mut opened, mut paying, mut paid_there) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut delivering, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    let mut tally = Tally::default();
    for (act, phase) in operations.values() {
        tally.unknown += usize::from(matches!(phase, Phase::Info | Phase::Invoke));
        // What was refused was not done.
        let perhaps = *phase != Phase::Fail;
        let surely = *phase == Phase::Ok;
        match act {
            Act::Open { order: Some(order), .. } if surely => {
                opened.insert(order.as_str());
            }
            Act::Open { .. } => {}
            Act::Pay { order } => {
                paying.extend(perhaps.then_some(order.as_str()));
                paid_there.extend(surely.then_some(order.as_str()));
            }
            Act::Deliver { event } => {
                delivering.extend(perhaps.then_some(event.as_str()));
                acknowledged.extend(surely.then_some(event.as_str()));
            }
            Act::Fault { .. } => tally.faults += 1,
        }
    }
    tally.acknowledged = acknowledged.len();

    let stored: BTreeSet<&str> = end.events.iter().map(String::as_str).collect();
    violations
        .extend(acknowledged.difference(&stored).map(|event| Violation::EventLost((*event).to_owned())));
    if when == When::BeforeReconciling {
        // Reconciling fetches events by itself.
        let invented = stored.difference(&delivering);
        violations.extend(invented.map(|event| Violation::EventInvented((*event).to_owned())));
    }
    let known: BTreeSet<&str> = end.orders.keys().map(String::as_str).collect();
    violations.extend(opened.difference(&known).map(|order| Violation::OrderLost((*order).to_owned())));
    let paid: BTreeSet<&str> = end
        .orders
        .iter()
        .filter(|(_, status)| PAID.contains(&status.as_str()))
        .map(|(id, _)| id.as_str())
        .collect();
    tally.paid = paid.len();
    violations.extend(paid.difference(&paying).map(|order| Violation::PaymentInvented((*order).to_owned())));

    let mut jobs: BTreeMap<&str, usize> = BTreeMap::new();
    for order in &end.jobs {
        *jobs.entry(order).or_default() += 1;
    }
    let repeated = jobs.iter().filter(|(_, count)| **count > 1);
    violations.extend(repeated.map(|(order, count)| Violation::JobRepeated((*order).to_owned(), *count)));
    let with_job: BTreeSet<&str> = jobs.into_keys().collect();
    violations.extend(with_job.difference(&paid).map(|order| Violation::JobInvented((*order).to_owned())));
    if when == When::AfterReconciling {
        violations
            .extend(paid_there.difference(&paid).map(|order| Violation::PaymentLost((*order).to_owned())));
        violations.extend(paid.difference(&with_job).map(|order| Violation::JobMissing((*order).to_owned())));
    }
    violations.extend(end.broken.iter().cloned().map(Violation::Contradiction));
    if violations.is_empty() { Ok(tally) } else { Err(violations) }
}

/// How each operation ended, as far as that is known.
fn operations<'a>(history: &'a [Entry], violations: &mut Vec<Violation>) -> HashMap<u64, (&'a Act, Phase)> {
    let mut operations: HashMap<u64, (&Act, Phase)> = HashMap::new();
    let mut last = i64::MIN;
    for entry in history {
        let known = operations.get(&entry.operation).map(|(_, phase)| *phase);
        let fits = match (known, entry.phase) {
            (None, Phase::Invoke) => true,
            (Some(Phase::Invoke), phase) => phase != Phase::Invoke,
            _ => false,
        };
        if !fits || entry.at < last {
            violations.push(Violation::Malformed(entry.operation));
        }
        last = entry.at;
        operations.insert(entry.operation, (&entry.act, entry.phase));
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations one after another.
    fn history(operations: &[(Act, Phase)]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (operation, (act, phase)) in (0..).zip(operations) {
            for phase in [Phase::Invoke, *phase] {
                let at = i64::try_from(entries.len()).unwrap();
                entries.push(Entry { at, operation, phase, act: act.clone() });
            }
        }
        entries
    }

    fn open(order: &str) -> Act {
        Act::Open { document: format!("document of {order}"), order: Some(order.to_owned()) }
    }

    fn pay(order: &str) -> Act {
        Act::Pay { order: order.to_owned() }
    }

    fn deliver(event: &str) -> Act {
        Act::Deliver { event: event.to_owned() }
    }

    fn end(orders: &[(&str, &str)], jobs: &[&str], events: &[&str]) -> End {
        End {
            orders: orders.iter().map(|(id, status)| ((*id).to_owned(), (*status).to_owned())).collect(),
            jobs: jobs.iter().map(|job| (*job).to_owned()).collect(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            broken: Vec::new(),
        }
    }

    fn one_paid_order() -> Vec<Entry> {
        history(&[(open("o"), Phase::Ok), (pay("o"), Phase::Ok), (deliver("e"), Phase::Ok)])
    }

    fn both(history: &[Entry], end: &End) -> [Vec<Violation>; 2] {
        [When::BeforeReconciling, When::AfterReconciling]
            .map(|when| check(history, end, when).err().unwrap_or_default())
    }

    #[test]
    fn a_paid_order_with_its_job_is_fine() {
        let history = one_paid_order();
        let tally =
            check(&history, &end(&[("o", "delivered")], &["o"], &["e"]), When::AfterReconciling).unwrap();
        assert_eq!(tally, Tally { paid: 1, acknowledged: 1, unknown: 0, faults: 0 });
        for status in PAID {
            assert_eq!(both(&history, &end(&[("o", status)], &["o"], &["e"])), [vec![], vec![]]);
        }
    }

    #[test]
    fn what_nobody_knows_may_be_done_or_not() {
        let unknown =
            history(&[(open("o"), Phase::Ok), (pay("o"), Phase::Info), (deliver("e"), Phase::Info)]);
        for end in [
            end(&[("o", "delivered")], &["o"], &["e"]),
            end(&[("o", "open")], &[], &[]),
            end(&[("o", "open")], &[], &["e"]),
        ] {
            assert_eq!(both(&unknown, &end), [vec![], vec![]]);
            assert_eq!(check(&unknown, &end, When::AfterReconciling).unwrap().unknown, 2);
        }
        // An operation that never ended is no different.
        let cut = &unknown[..unknown.len() - 1];
        assert_eq!(both(cut, &end(&[("o", "delivered")], &["o"], &["e"])), [vec![], vec![]]);
    }

    #[test]
    fn what_was_lost_on_the_way_must_be_found_by_reconciling() {
        let lost = history(&[(open("o"), Phase::Ok), (pay("o"), Phase::Ok), (deliver("e"), Phase::Info)]);
        let unpaid = end(&[("o", "open")], &[], &[]);
        assert_eq!(both(&lost, &unpaid), [vec![], vec![Violation::PaymentLost("o".to_owned())]]);
        let waiting = end(&[("o", "paid")], &[], &["e"]);
        assert_eq!(both(&lost, &waiting), [vec![], vec![Violation::JobMissing("o".to_owned())]]);
    }

    #[test]
    fn an_acknowledged_event_must_be_stored() {
        let lost = Violation::EventLost("e".to_owned());
        let end = end(&[("o", "delivered")], &["o"], &[]);
        assert_eq!(both(&one_paid_order(), &end), [vec![lost.clone()], vec![lost]]);
    }

    #[test]
    fn nothing_comes_from_nowhere() {
        let refused =
            history(&[(open("o"), Phase::Ok), (pay("o"), Phase::Fail), (deliver("e"), Phase::Fail)]);
        let found =
            check(&refused, &end(&[("o", "paid")], &["o"], &["e"]), When::BeforeReconciling).unwrap_err();
        assert_eq!(
            found,
            [Violation::EventInvented("e".to_owned()), Violation::PaymentInvented("o".to_owned())]
        );
        let unpaid = end(&[("o", "open")], &["o"], &[]);
        let found = check(&refused, &unpaid, When::BeforeReconciling).unwrap_err();
        assert_eq!(found, [Violation::JobInvented("o".to_owned())]);
        let unknown = end(&[("o", "open")], &["p"], &[]);
        let found = check(&refused, &unknown, When::BeforeReconciling).unwrap_err();
        assert_eq!(found, [Violation::JobInvented("p".to_owned())]);
    }

    #[test]
    fn a_second_job_is_one_too_many() {
        let repeated = Violation::JobRepeated("o".to_owned(), 2);
        let end = end(&[("o", "delivered")], &["o", "o"], &["e"]);
        assert_eq!(both(&one_paid_order(), &end), [vec![repeated.clone()], vec![repeated]]);
    }

    #[test]
    fn an_order_that_was_answered_must_be_there() {
        let lost = Violation::OrderLost("o".to_owned());
        let opened = history(&[(open("o"), Phase::Ok)]);
        assert_eq!(both(&opened, &end(&[], &[], &[])), [vec![lost.clone()], vec![lost]]);
    }

    #[test]
    fn contradictions_of_the_books_count() {
        let broken = End { broken: vec!["I5".to_owned()], ..end(&[("o", "delivered")], &["o"], &["e"]) };
        let found = vec![Violation::Contradiction("I5".to_owned())];
        assert_eq!(both(&one_paid_order(), &broken), [found.clone(), found]);
    }

    #[test]
    fn a_history_that_makes_no_sense_proves_nothing() {
        let good = one_paid_order();
        let fine = end(&[("o", "delivered")], &["o"], &["e"]);
        let mut twice = good.clone();
        twice.push(good.last().unwrap().clone());
        let mut backwards = good.clone();
        backwards[3].at = 0;
        let headless = good[1..].to_vec();
        for (broken, operation) in [(twice, 2), (backwards, 1), (headless, 0)] {
            let found = check(&broken, &fine, When::AfterReconciling).unwrap_err();
            assert!(found.contains(&Violation::Malformed(operation)), "{found:?}");
        }
    }

    #[test]
    fn faults_are_counted() {
        let fault = Act::Fault { what: "kill".to_owned() };
        let faults = history(&[(fault, Phase::Ok)]);
        let tally = check(&faults, &End::default(), When::AfterReconciling).unwrap();
        assert_eq!(tally, Tally { faults: 1, ..Tally::default() });
    }
}
