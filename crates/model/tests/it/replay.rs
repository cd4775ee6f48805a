//! Journals that are allowed and journals that are not.

use quire_model::payment::Status;
use quire_model::replay::{Rule, Step, Task, Violation, replay, replay_to_the_end};

fn order() -> String {
    "o".to_owned()
}

fn event(id: &str) -> String {
    id.to_owned()
}

fn refund(amount: i64) -> Task {
    Task::Refund { key: "refund:o".to_owned(), payment: "pi".to_owned(), amount }
}

/// An event pays an order of 600.
fn paid() -> Vec<Step> {
    vec![
        Step::Charged { order: order(), payment: "pi".to_owned(), amount: 600 },
        Step::Stored { event: event("evt_1") },
        Step::Moved { order: order(), to: Status::Paid },
        Step::Paid { order: order(), payment: "pi".to_owned(), amount: 600 },
        Step::Enqueued { order: order(), task: Task::StartJob },
        Step::Applied { event: event("evt_1") },
        Step::Acknowledged { event: event("evt_1") },
    ]
}

fn claimed(task: &Task, epoch: u64) -> Step {
    Step::Claimed { order: order(), task: task.clone(), epoch }
}

fn sent(task: &Task, epoch: u64) -> Step {
    Step::Sent { order: order(), task: task.clone(), epoch }
}

fn done(task: &Task, epoch: u64) -> Step {
    Step::Done { order: order(), task: task.clone(), epoch }
}

/// The order is paid and its job has ended.
fn worked() -> Vec<Step> {
    let start = Task::StartJob;
    let job = [
        claimed(&start, 1),
        sent(&start, 1),
        Step::JobInserted { order: order() },
        done(&start, 1),
        Step::JobEnded { order: order() },
    ];
    [paid(), job.to_vec()].concat()
}

fn with(mut journal: Vec<Step>, steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    journal.extend(steps);
    journal
}

/// The rule that the last step breaks.
fn broken(journal: &[Step]) -> Rule {
    let violation = replay(journal).expect_err("allowed");
    assert_eq!(violation.at, journal.len() - 1, "{violation}");
    violation.rule
}

#[test]
fn a_plain_journey_is_allowed() {
    let journal = with(
        worked(),
        [Step::Moved { order: order(), to: Status::Delivered }, Step::Settled { order: order() }],
    );
    assert_eq!(replay_to_the_end(&journal), Ok(()));
}

#[test]
fn a_second_event_and_a_late_relay_change_nothing() {
    let start = Task::StartJob;
    let journal = with(
        paid(),
        [
            claimed(&start, 1),
            sent(&start, 1),
            claimed(&start, 2),
            Step::Stored { event: event("evt_2") },
            Step::Applied { event: event("evt_2") },
            sent(&start, 2),
            Step::JobInserted { order: order() },
            done(&start, 2),
            sent(&start, 1),
        ],
    );
    assert_eq!(replay(&journal), Ok(()));
    // Nothing was left to do? The job still runs.
    let never = Rule::NeverSettled { order: order() };
    assert_eq!(replay_to_the_end(&journal), Err(Violation { at: journal.len(), rule: never }));
}

#[test]
fn a_failed_job_gives_the_money_back_once() {
    let (all, key) = (refund(600), "refund:o".to_owned());
    let back = Step::Refunded { order: order(), key: key.clone(), amount: 600 };
    let journal = with(
        worked(),
        [
            Step::Moved { order: order(), to: Status::RefundPending },
            Step::Enqueued { order: order(), task: all.clone() },
            Step::Settled { order: order() },
            claimed(&all, 1),
            sent(&all, 1),
            back.clone(),
        ],
    );
    assert_eq!(broken(&with(journal.clone(), [back])), Rule::RefundedTwice(key));
    let journal = with(journal, [Step::Moved { order: order(), to: Status::Refunded }, done(&all, 1)]);
    assert_eq!(replay_to_the_end(&journal), Ok(()));
}

#[test]
fn no_more_goes_back_than_was_paid_and_decided() {
    let journal = with(worked(), [Step::Moved { order: order(), to: Status::Delivered }]);
    let enqueued = |amount| Step::Enqueued { order: order(), task: refund(amount) };
    let over = Rule::OverPromised { payment: "pi".to_owned(), promised: 601, paid: 600 };
    assert_eq!(broken(&with(journal.clone(), [enqueued(601)])), over);
    let (part, key) = (refund(300), "refund:o".to_owned());
    let refunded = Step::Refunded { order: order(), key: key.clone(), amount: 400 };
    let journal = with(journal, [enqueued(300), claimed(&part, 1), sent(&part, 1), refunded]);
    assert_eq!(broken(&journal), Rule::RefundAmount { key, amount: 400, decided: 300 });
}

#[test]
fn events_are_stored_and_applied_once_and_before_their_2xx() {
    let (stored, applied) = (Step::Stored { event: event("e") }, Step::Applied { event: event("e") });
    let unstored = Rule::AcknowledgedUnstored { event: event("e") };
    assert_eq!(broken(&[Step::Acknowledged { event: event("e") }]), unstored);
    assert_eq!(broken(std::slice::from_ref(&applied)), Rule::AppliedUnstored { event: event("e") });
    assert_eq!(broken(&[stored.clone(), stored.clone()]), Rule::StoredTwice(event("e")));
    assert_eq!(broken(&[stored.clone(), applied.clone(), applied]), Rule::AppliedTwice(event("e")));
    let never = Rule::NeverApplied { event: event("e") };
    assert_eq!(replay_to_the_end(&[stored]), Err(Violation { at: 1, rule: never }));
}

#[test]
fn orders_move_as_the_model_does() {
    let moved = |to| Step::Moved { order: order(), to };
    let allowed =
        [Status::Processing, Status::Paid, Status::Delivered, Status::RefundPending, Status::Refunded];
    assert_eq!(replay(&allowed.map(moved)), Ok(()));
    let forbidden = [
        vec![Status::Delivered],
        vec![Status::Paid, Status::Processing],
        vec![Status::Paid, Status::Delivered, Status::Paid],
        vec![Status::Expired, Status::Paid],
        vec![Status::Expired, Status::RefundPending, Status::Refunded, Status::RefundPending],
    ];
    for path in forbidden {
        let journal: Vec<Step> = path.iter().copied().map(moved).collect();
        assert!(matches!(broken(&journal), Rule::Move { .. }), "{path:?}");
    }
}

#[test]
fn jobs_need_a_paid_order_a_call_and_are_one() {
    let (start, job) = (Task::StartJob, Step::JobInserted { order: order() });
    let early = Step::Enqueued { order: order(), task: start.clone() };
    assert_eq!(broken(&[early]), Rule::Uncalled { task: start.clone(), status: Status::Open });
    assert_eq!(broken(&with(paid(), [claimed(&start, 1), job.clone()])), Rule::JobUnasked);
    assert_eq!(broken(&with(worked(), [job])), Rule::TwoJobs);
    let ended = Step::JobEnded { order: order() };
    assert_eq!(broken(&with(worked(), [ended])), Rule::NoJob);
    let uncharged = [
        Step::Moved { order: order(), to: Status::Paid },
        Step::Paid { order: order(), payment: "pi".to_owned(), amount: 600 },
    ];
    assert!(matches!(broken(&uncharged), Rule::PaidUncharged { charged: 0, .. }));
}

#[test]
fn rows_are_claimed_in_rising_epochs_and_finished_in_the_last_after_sending() {
    let start = Task::StartJob;
    let claim = |epoch| claimed(&start, epoch);
    assert!(matches!(broken(&with(paid(), [claim(1), claim(1)])), Rule::Epoch { now: 1, .. }));
    assert!(matches!(broken(&with(paid(), [sent(&start, 1)])), Rule::Epoch { now: 0, .. }));
    assert_eq!(broken(&with(paid(), [claim(1), done(&start, 1)])), Rule::Unsent(start.clone()));
    let late = with(paid(), [claim(1), sent(&start, 1), claim(2), done(&start, 1)]);
    assert!(matches!(broken(&late), Rule::Epoch { now: 2, epoch: 1, .. }));
    assert_eq!(broken(&with(worked(), [claim(2)])), Rule::DoneBefore(start.clone()));
    assert_eq!(broken(&[claim(1)]), Rule::NoRow(start.clone()));
    let enqueued = Step::Enqueued { order: order(), task: start.clone() };
    assert_eq!(broken(&with(paid(), [enqueued])), Rule::EnqueuedTwice(start));
}

#[test]
fn a_wish_is_withdrawn_only_before_it_was_sent_and_renewed_only_while_it_is_paid() {
    let (start, cancel) = (Task::StartJob, Task::CancelJob);
    assert_eq!(replay(&with(paid(), [done(&start, 0)])), Ok(()));
    let withdrawn = with(paid(), [claimed(&start, 1), done(&start, 0)]);
    assert!(matches!(broken(&withdrawn), Rule::Epoch { now: 1, epoch: 0, .. }));
    let wished = Step::WishedAgain { order: order() };
    assert_eq!(replay(&with(worked(), [wished.clone(), claimed(&start, 2), sent(&start, 2)])), Ok(()));
    let back = Step::Moved { order: order(), to: Status::RefundPending };
    let gone = with(worked(), [back.clone(), wished]);
    assert_eq!(broken(&gone), Rule::WishedUnpaid(Status::RefundPending));
    let cancelled = [
        claimed(&start, 1),
        back,
        Step::Enqueued { order: order(), task: cancel.clone() },
        claimed(&cancel, 1),
        sent(&cancel, 1),
        done(&cancel, 1),
    ];
    assert_eq!(broken(&with(paid(), cancelled)), Rule::CancelledEarly);
}

#[test]
fn settling_needs_an_end_and_happens_once() {
    let settled = Step::Settled { order: order() };
    assert_eq!(broken(&with(paid(), [settled.clone()])), Rule::SettledEarly);
    assert_eq!(broken(&with(worked(), [settled.clone(), settled])), Rule::SettledTwice);
}

#[test]
fn what_was_paid_is_entered_and_served() {
    let end = |journal: &[Step]| {
        let violation = replay_to_the_end(journal).expect_err("allowed");
        assert_eq!(violation.at, journal.len());
        violation.rule
    };
    assert_eq!(end(&paid()[..1]), Rule::NeverEntered { payment: "pi".to_owned() });
    assert_eq!(end(&paid()), Rule::NeverDone { order: order(), task: Task::StartJob });
    let withdrawn = with(paid(), [done(&Task::StartJob, 0)]);
    assert_eq!(end(&withdrawn), Rule::NeverServed { order: order() });
}
