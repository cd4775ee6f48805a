//! When a job is expected to be done, and what it will have cost.
//!
//! Computed from the pace at which this job's own sections came so far, with the pace of finished jobs of the same writer
//! as what is known before. The pace is the time from one finished section to the next, so it already holds how many are
//! written at once.

pub mod measure;

/// A pace that finished jobs had counts as so many sections of this one.
const PRIOR: f64 = 2.0;
/// The deviation is at least this share of the mean,
const LEAST_DEVIATION: f64 = 0.35;
/// and this much more, divided by how many sections it is known from.
const UNSURE: f64 = 0.8;
/// A section under way needs at least this share of the mean, however long it has taken.
const REMAINDER: f64 = 0.35;
/// Deviations between the half and nine in ten; more than a normal distribution has, since sections that take long take
/// very long.
const DEVIATIONS: f64 = 1.8;
/// The last section is the slowest one more often than not when several are written at once.
const STRAGGLER: f64 = 1.2;
/// What a section is late by already may come once more.
const LATE: f64 = 2.0;
/// Of the time for typesetting.
const TYPESET_DEVIATION: f64 = 0.7;

/// What is known of a job. Times are microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub now: i64,
    /// When the last section was done, or the plan; or when the job will go on.
    pub since: i64,
    pub sections_left: usize,
    /// From each finished section to the next, in the same attempt.
    pub gaps: Vec<i64>,
    /// Of finished jobs of the same writer.
    pub others: Option<Others>,
    /// Expected for typesetting.
    pub typeset: i64,
}

/// Over finished jobs, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Others {
    /// From one section to the next.
    pub mean: f64,
    /// Of single sections, as far as the jobs' means show it.
    pub deviation: f64,
}

/// Moments in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// As likely before as after.
    pub p50: i64,
    /// Nine in ten are done by then.
    pub p90: i64,
}

/// When it will be done; `None` while nothing was ever measured.
pub fn finish(known: &Known) -> Option<Finish> {
    let left = known.sections_left as f64;
    let (middle, spread) = match known.sections_left {
        0 => (0.0, 0.0),
        _ => {
            let (mean, deviation, weight) = pace(known)?;
            let taken = (known.now - known.since).max(0) as f64;
            let present = (mean - taken).max(REMAINDER * mean);
            let slowest = known.gaps.iter().map(|gap| *gap as f64).fold(mean + deviation, f64::max);
            // The mean may be wrong too, and then for every section.
            let variance = left * deviation.powi(2) + (left * deviation).powi(2) / weight;
            let late = LATE * (taken - mean).max(0.0);
            ((left - 1.0) * mean + present, DEVIATIONS * variance.sqrt() + STRAGGLER * slowest + late)
        }
    };
    let typeset = known.typeset.max(0) as f64;
    let p50 = known.now.saturating_add((middle + typeset) as i64);
    let p90 = p50.saturating_add((spread + TYPESET_DEVIATION * typeset) as i64);
    Some(Finish { p50, p90 })
}

/// Mean and deviation of the time from one section to the next, and how many sections they are known from.
fn pace(known: &Known) -> Option<(f64, f64, f64)> {
    let (prior, before) = known.others.map_or((0.0, Others { mean: 0.0, deviation: 0.0 }), |it| (PRIOR, it));
    let weight = prior + known.gaps.len() as f64;
    if weight == 0.0 {
        return None;
    }
    let gaps = || known.gaps.iter().map(|gap| (*gap).max(0) as f64);
    let mean = (prior * before.mean.max(0.0) + gaps().sum::<f64>()) / weight;
    let of_others = before.deviation.powi(2) + (before.mean - mean).powi(2);
    let own: f64 = gaps().map(|gap| (gap - mean).powi(2)).sum();
    let deviation = ((prior * of_others + own) / weight).sqrt();
    Some((mean, deviation.max(mean * (LEAST_DEVIATION + UNSURE / weight)), weight))
}

/// What a job will have cost, in millionths of a US dollar. `spent` so far, `on_sections` of it on the `done` sections.
/// `estimate` for the whole job, for as long as no section is done.
pub fn cost(
    spent: i64,
    on_sections: i64,
    (done, left): (usize, usize),
    estimate: Option<i64>,
) -> Option<i64> {
    if left == 0 {
        return Some(spent);
    }
    if done == 0 {
        return estimate.map(|estimate| estimate.max(spent));
    }
    let rest = i128::from(on_sections) * left as i128 / done as i128;
    Some(spent.saturating_add(i64::try_from(rest).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests;
