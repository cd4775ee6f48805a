//! Metrics: counted where things happen, shown on an address of their own in the OpenMetrics text format.
//!
//! A [`Metrics`] is a value that is passed in: two systems in one process count apart. Every name begins with
//! `quire_` and its service, so that all services of one process share a registry. Label values are a closed set
//! that the program itself writes, never what a client sent: each combination is kept until the process ends.

mod listener;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use listener::{METRICS_LISTEN, address};
pub use prometheus_client::metrics::counter::Counter;

/// Upper bounds in seconds: from a read of one row to a payment provider that has to be waited for.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// What one system counts. Cheap to clone; clones share their counts. The default is shown to nobody.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    registry: Registry,
    names: HashSet<String>,
}

/// The metrics of one service.
#[derive(Clone, Debug)]
pub struct Scope {
    metrics: Metrics,
    prefix: String,
}

impl Metrics {
    /// The metrics of a service, such as `background-job`.
    pub fn scope(&self, service: &str) -> Scope {
        Scope { metrics: self.clone(), prefix: format!("quire_{}_", service.replace('-', "_")) }
    }

    /// Everything counted so far, as OpenMetrics text.
    ///
    /// # Errors
    /// A gauge cannot be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.book().registry)?;
        Ok(text)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    /// A count without labels. `name` goes without `_total`, which is added.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// A count for each combination of values of these labels. `name` goes without `_total`, which is added.
    pub fn counters<const N: usize>(&self, name: &str, help: &str, labels: [&'static str; N]) -> Counters<N> {
        let family = Family::default();
        self.register(name, help, family.clone());
        Counters { labels, family }
    }

    /// A distribution of times, in seconds, for each combination of values of these labels. `name` ends with
    /// `_seconds`.
    pub fn durations<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&'static str; N],
    ) -> Durations<N> {
        let family = Family::new_with_constructor(histogram as fn() -> Histogram);
        self.register(name, help, family.clone());
        Durations { labels, family }
    }

    /// A number that is read whenever somebody looks.
    pub fn gauge(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        let name = format!("{}{name}", self.prefix);
        let mut book = self.metrics.book();
        if book.is_new(&name) {
            book.registry.register_collector(Box::new(Reading { name, help: format!("{help}."), read }));
        }
    }

    /// A number for each combination of values of these labels, read whenever somebody looks. No combination may come
    /// twice. The name of a counter goes without `_total`, which is added.
    pub fn readings<const N: usize>(
        &self,
        name: &str,
        help: &str,
        shown: Shown,
        labels: [&'static str; N],
        read: impl Fn() -> Vec<([String; N], f64)> + Send + Sync + 'static,
    ) {
        let name = format!("{}{name}", self.prefix);
        let mut book = self.metrics.book();
        if book.is_new(&name) {
            let readings = Readings { name, help: format!("{help}."), shown, labels, read };
            book.registry.register_collector(Box::new(readings));
        }
    }

    fn register(
        &self,
        name: &str,
        help: &str,
        metric: impl EncodeMetric + fmt::Debug + Send + Sync + 'static,
    ) {
        let name = format!("{}{name}", self.prefix);
        let mut book = self.metrics.book();
        if book.is_new(&name) {
            book.registry.register(name, help, metric);
        }
    }
}

impl Book {
    /// A name that came twice would spoil the whole page for whoever reads it.
    fn is_new(&mut self, name: &str) -> bool {
        let new = self.names.insert(name.to_owned());
        if !new {
            tracing::error!(name, "a metric is registered twice: only the first one is shown");
        }
        new
    }
}

type Labels<const N: usize> = [(&'static str, String); N];

fn labelled<const N: usize>(names: [&'static str; N], values: [&str; N]) -> Labels<N> {
    std::array::from_fn(|place| (names[place], values[place].to_owned()))
}

/// Counts by labels. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Counters<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, Counter>,
}

impl<const N: usize> Counters<N> {
    /// The same, with these values shown as zero from the start: an alert cannot tell a count that never began from
    /// one that is not there.
    pub fn from_zero(self, values: impl IntoIterator<Item = [&'static str; N]>) -> Self {
        for values in values {
            drop(self.family.get_or_create(&labelled(self.labels, values)));
        }
        self
    }

    /// Counts one; the values in the order of the labels.
    pub fn count(&self, values: [&str; N]) {
        self.family.get_or_create(&labelled(self.labels, values)).inc();
    }
}

/// Times by labels. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Durations<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, Histogram>,
}

impl<const N: usize> Durations<N> {
    /// Adds one; the values in the order of the labels.
    pub fn observe(&self, values: [&str; N], took: Duration) {
        self.family.get_or_create(&labelled(self.labels, values)).observe(took.as_secs_f64());
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// A gauge that keeps no value of its own.
struct Reading<F> {
    name: String,
    help: String,
    read: F,
}

impl<F> fmt::Debug for Reading<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl<F: Fn() -> f64 + Send + Sync + 'static> Collector for Reading<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(&self.name, &self.help, None, MetricType::Gauge)?;
        metric.encode_gauge(&(self.read)())
    }
}

/// What numbers that are read mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Gauge,
    /// They never fall.
    Counter,
}

/// Several of one name, which keep no values of their own.
struct Readings<const N: usize, F> {
    name: String,
    help: String,
    shown: Shown,
    labels: [&'static str; N],
    read: F,
}

impl<const N: usize, F> fmt::Debug for Readings<N, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl<const N: usize, F> Collector for Readings<N, F>
where
    F: Fn() -> Vec<([String; N], f64)> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let kind = match self.shown {
            Shown::Gauge => MetricType::Gauge,
            Shown::Counter => MetricType::Counter,
        };
        let mut metric = encoder.encode_descriptor(&self.name, &self.help, None, kind)?;
        for (values, number) in (self.read)() {
            let labels = labelled(self.labels, std::array::from_fn(|place| values[place].as_str()));
            let mut one = metric.encode_family(&labels)?;
            match self.shown {
                Shown::Gauge => one.encode_gauge(&number)?,
                Shown::Counter => one.encode_counter::<NoLabelSet, _, u64>(&number, None)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_systems_count_apart_and_services_of_one_together() {
        let (one, two) = (Metrics::default(), Metrics::default());
        for (metrics, times) in [(&one, 1), (&two, 2)] {
            let mails = metrics.scope("auth").counters("mails", "Mails by outcome", ["outcome"]);
            let mails = mails.from_zero([["sent"], ["failed"]]);
            (0..times).for_each(|_| mails.count(["sent"]));
            metrics.scope("background-job").counter("runs", "Runs");
        }
        assert!(one.text().unwrap().contains("quire_auth_mails_total{outcome=\"sent\"} 1\n"));
        let text = two.text().unwrap();
        assert!(text.contains("quire_auth_mails_total{outcome=\"sent\"} 2\n"), "{text}");
        assert!(text.contains("quire_auth_mails_total{outcome=\"failed\"} 0\n"), "{text}");
        assert!(text.contains("quire_background_job_runs_total 0\n"), "{text}");
        assert!(text.contains("# HELP quire_auth_mails Mails by outcome.\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn gauges_are_read_when_somebody_looks() {
        let metrics = Metrics::default();
        let open = Arc::new(Mutex::new(0));
        let read = open.clone();
        metrics
            .scope("gateway")
            .gauge("streams_open", "Open streams", move || f64::from(*read.lock().unwrap()));
        *open.lock().unwrap() = 3;
        let text = metrics.text().unwrap();
        assert!(text.contains("# TYPE quire_gateway_streams_open gauge\n"), "{text}");
        assert!(text.contains("quire_gateway_streams_open 3.0\n"), "{text}");
    }

    #[test]
    fn several_of_one_name_are_read_when_somebody_looks() {
        let metrics = Metrics::default();
        let scope = metrics.scope("job");
        let rows = |numbers: [f64; 2]| vec![(["a".to_owned()], numbers[0]), (["b".to_owned()], numbers[1])];
        scope.readings("spend", "Spend", Shown::Counter, ["model"], move || rows([1.0, 2.5]));
        scope.readings("jobs", "Jobs", Shown::Gauge, ["status"], move || rows([3.0, 0.0]));
        let text = metrics.text().unwrap();
        for line in [
            "# TYPE quire_job_spend counter",
            "quire_job_spend_total{model=\"a\"} 1.0",
            "quire_job_spend_total{model=\"b\"} 2.5",
            "# TYPE quire_job_jobs gauge",
            "quire_job_jobs{status=\"a\"} 3.0",
            "quire_job_jobs{status=\"b\"} 0.0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn times_are_counted_in_seconds() {
        let metrics = Metrics::default();
        let took = metrics.scope("gateway").durations("wait_seconds", "Waits", ["route"]);
        took.observe(["/a"], Duration::from_millis(30));
        let text = metrics.text().unwrap();
        assert!(text.contains("quire_gateway_wait_seconds_sum{route=\"/a\"} 0.03\n"), "{text}");
        assert!(text.contains("quire_gateway_wait_seconds_bucket{le=\"0.025\",route=\"/a\"} 0\n"), "{text}");
        assert!(text.contains("quire_gateway_wait_seconds_bucket{le=\"0.05\",route=\"/a\"} 1\n"), "{text}");
    }

    #[test]
    fn a_name_that_comes_twice_is_shown_once() {
        let scope = Metrics::default().scope("auth");
        scope.counter("mails", "Mails");
        scope.counter("mails", "Mails").inc();
        scope.gauge("mails", "Mails", || 1.0);
        let text = scope.metrics.text().unwrap();
        assert_eq!(text.matches("# TYPE quire_auth_mails ").count(), 1, "{text}");
    }
}
