//! What a forecast promises, for any job; and how often it is right, over many.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

const SECOND: f64 = 1e6;

fn known() -> impl Strategy<Value = Known> {
    let others = proptest::option::of((0.0..1e10, 0.0..1e10));
    let others = others.prop_map(|it| it.map(|(mean, deviation)| Others { mean, deviation }));
    let gaps = proptest::collection::vec(0..10_000_000_000_i64, 0..40);
    let times = (0..i64::MAX / 4, -10_000_000_000..10_000_000_000_i64);
    (times, 0..500_usize, gaps, others, 0..10_000_000_000_i64).prop_map(
        |((now, ago), sections_left, gaps, others, typeset)| Known {
            now,
            since: now - ago,
            sections_left,
            gaps,
            others,
            typeset,
        },
    )
}

proptest! {
    #[test]
    fn no_job_is_done_before_now_and_nine_in_ten_not_before_the_half(known in known()) {
        let measured = known.sections_left == 0 || known.others.is_some() || !known.gaps.is_empty();
        let finish = finish(&known);
        prop_assert_eq!(finish.is_some(), measured);
        if let Some(finish) = finish {
            prop_assert!(known.now <= finish.p50 && finish.p50 <= finish.p90);
        }
    }

    #[test]
    fn fewer_sections_are_done_earlier(known in known(), fewer in 0..500_usize) {
        let fewer = Known { sections_left: fewer.min(known.sections_left), ..known.clone() };
        if let (Some(all), Some(few)) = (finish(&known), finish(&fewer)) {
            // Of sums this large, doubles have the last microseconds no more.
            let slack = (all.p90 - known.now) / 1_000_000 + 4;
            prop_assert!(few.p50 <= all.p50 + slack && few.p90 <= all.p90 + slack);
        }
    }

    #[test]
    fn an_even_pace_converges(gap in 1_000_000..100_000_000_i64, count in 100..300_usize, left in 1..100_usize) {
        let known = Known {
            now: 0, since: 0, sections_left: left, gaps: vec![gap; count], others: None, typeset: 0,
        };
        let finish = finish(&known).unwrap();
        let exact = gap * i64::try_from(left).unwrap();
        prop_assert!((finish.p50 - exact).abs() <= 4, "{finish:?} instead of {exact}");
    }

    #[test]
    fn the_cost_is_never_below_what_is_spent(
        spent in 0..1_000_000_000_i64,
        share in 0.0..1.0,
        done in 0..400_usize,
        left in 0..400_usize,
        estimate in proptest::option::of(0..1_000_000_000_i64),
    ) {
        let on_sections = (spent as f64 * share) as i64;
        match cost(spent, on_sections, (done, left), estimate) {
            Some(cost) => prop_assert!(cost >= spent && (left > 0 || cost == spent)),
            None => prop_assert!(done == 0 && left > 0 && estimate.is_none()),
        }
    }
}

#[test]
fn each_section_left_costs_what_one_did() {
    assert_eq!(cost(500, 400, (4, 6), None), Some(500 + 600));
}

/// A job that was played, and when it was done.
struct Run {
    /// When each section was done, in order.
    done: Vec<f64>,
    finished: f64,
}

/// Kinds of jobs: how many sections, how many at once, how uneven.
#[derive(Debug, Clone, Copy)]
struct Kind {
    sections: usize,
    at_once: usize,
    /// Deviation of a section's time as a share of its mean.
    uneven: f64,
}

const MEAN: f64 = 30.0 * SECOND;
/// The logarithm of a job's own speed deviates so much.
const SPEED: f64 = 0.4;

fn normal(random: &mut Rng) -> f64 {
    // Box and Muller.
    let (u, v) = (1.0 - random.f64(), random.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn play(kind: Kind, random: &mut Rng) -> Run {
    let mean = MEAN * (SPEED * normal(random)).exp();
    let width = (1.0 + kind.uneven.powi(2)).ln().sqrt();
    let mut ends: Vec<Option<f64>> = vec![None; kind.sections];
    let (mut running, mut begun, mut whole) = (Vec::<(f64, usize)>::new(), 0, 0);
    let (mut now, mut done) = (0.0, Vec::new());
    while done.len() < kind.sections {
        // A section waits for those that it is told of, as in real jobs.
        while begun < kind.sections.min(whole + kind.at_once) {
            let takes = mean * (width * normal(random) - width * width / 2.0).exp();
            running.push((now + takes, begun));
            begun += 1;
        }
        let next = (0..running.len()).min_by(|a, b| running[*a].0.total_cmp(&running[*b].0)).unwrap();
        let (end, section) = running.swap_remove(next);
        now = end;
        ends[section] = Some(end);
        done.push(end);
        while ends.get(whole).is_some_and(Option::is_some) {
            whole += 1;
        }
    }
    let typeset = typeset(kind) * (0.3 * normal(random)).exp();
    Run { done, finished: now + typeset }
}

fn typeset(kind: Kind) -> f64 {
    kind.sections as f64 * 0.5 * SECOND
}

/// Of the forecasts at the end of each section and somewhere in the next one, the share that held.
fn held(kind: Kind, with_others: bool, random: &mut Rng) -> f64 {
    let others = Others {
        mean: MEAN / kind.at_once as f64,
        deviation: MEAN / kind.at_once as f64 * kind.uneven.hypot(SPEED),
    };
    let (mut made, mut good) = (0, 0);
    for _ in 0..200 {
        let run = play(kind, random);
        let moments: Vec<f64> = std::iter::once(0.0).chain(run.done.iter().copied()).collect();
        for (at, since) in moments.iter().enumerate() {
            let next = moments.get(at + 1).copied().unwrap_or(run.finished);
            for now in [*since, since + (next - since) * random.f64()] {
                let known = Known {
                    now: now as i64,
                    since: *since as i64,
                    sections_left: kind.sections - at,
                    gaps: moments[..=at].windows(2).map(|pair| (pair[1] - pair[0]) as i64).collect(),
                    others: with_others.then_some(others),
                    typeset: typeset(kind) as i64,
                };
                let Some(finish) = finish(&known) else { continue };
                made += 1;
                good += i32::from(run.finished <= finish.p90 as f64);
            }
        }
    }
    f64::from(good) / f64::from(made)
}

#[test]
fn nine_in_ten_jobs_are_done_by_then() {
    let mut random = Rng::with_seed(17);
    for sections in [4, 10, 40] {
        for at_once in [1, 4] {
            for uneven in [0.2, 0.4, 0.6] {
                for with_others in [false, true] {
                    let kind = Kind { sections, at_once, uneven };
                    let held = held(kind, with_others, &mut random);
                    println!("{kind:?}, others known: {with_others}: {:.1} % held", held * 100.0);
                    assert!(held >= 0.9, "{kind:?} {with_others}: {held}");
                }
            }
        }
    }
}
