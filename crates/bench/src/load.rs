//! A closed loop of callers, and the times they waited.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// How much load, for how long.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) callers: usize,
    pub(crate) time: Duration,
}

/// What was measured.
pub(crate) struct Measured {
    /// Sorted.
    waits: Vec<Duration>,
    failures: usize,
    elapsed: Duration,
}

impl Load {
    /// Every caller repeats its call until the time is over. `caller` makes the call of each from its number.
    pub(crate) async fn run<C: Call>(self, caller: impl Fn(usize) -> C) -> anyhow::Result<Measured> {
        let end = Instant::now() + self.time;
        repeat(self.callers, caller, move || Instant::now() < end).await
    }

    /// As [`Self::run`], for a number of calls in all.
    pub(crate) async fn times<C: Call>(
        callers: usize,
        calls: usize,
        caller: impl Fn(usize) -> C,
    ) -> anyhow::Result<Measured> {
        let made = Arc::new(AtomicUsize::new(0));
        repeat(callers, caller, move || made.fetch_add(1, Ordering::Relaxed) < calls).await
    }
}

async fn repeat<C: Call>(
    callers: usize,
    caller: impl Fn(usize) -> C,
    go_on: impl Fn() -> bool + Clone + Send + 'static,
) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..callers {
        let (mut call, go_on) = (caller(number), go_on.clone());
        running.spawn(async move {
            let (mut waits, mut failures) = (Vec::new(), 0);
            while go_on() {
                let asked = Instant::now();
                match call.call().await {
                    Ok(()) => waits.push(asked.elapsed()),
                    Err(_) => failures += 1,
                }
            }
            (waits, failures)
        });
    }
    let (mut waits, mut failures) = (Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        let (more, failed) = done?;
        waits.extend(more);
        failures += failed;
    }
    waits.sort_unstable();
    Ok(Measured { waits, failures, elapsed: started.elapsed() })
}

/// The wait, in ms, that a share of the sorted waits does not exceed.
fn at(waits: &[Duration], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = (waits.len() as f64 * share) as usize;
    let wait = waits.get(place.min(waits.len().saturating_sub(1)));
    wait.map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}

/// Of sorted waits.
pub(crate) fn percentiles(waits: &[Duration]) -> String {
    format!("p50 {:.2} ms  p95 {:.2} ms  p99 {:.2} ms", at(waits, 0.5), at(waits, 0.95), at(waits, 0.99))
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a rate for a table")]
        let rate = self.waits.len() as f64 / self.elapsed.as_secs_f64();
        write!(formatter, "{rate:>7.0}/s  {}  failed {}", percentiles(&self.waits), self.failures)
    }
}

/// Something that can be called again and again.
pub(crate) trait Call: Send + 'static {
    fn call(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}
