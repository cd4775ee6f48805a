//! What all processes together know of upstreams, in Redis: one script call for each look and each report.

use std::time::Duration;

use redis::{Client, Script};

use super::account::{Entry, Known};
use super::{Bounds, micros};
use crate::judge::Judge;
use crate::link::{Link, LinkError};

pub(super) struct Remote {
    link: Link,
    enter: Script,
    report: Script,
    judge: Judge,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Nothing new.
    Nothing,
    Served,
    /// Microseconds.
    Busy {
        after: i64,
    },
    /// It was not made, or got no answer.
    Gone,
}

impl Remote {
    pub async fn connect(url: &str, patience: Duration) -> Result<Self, LinkError> {
        let client = Client::open(url).map_err(|_| LinkError)?;
        Ok(Self {
            link: Link::connect(client, "upstream limits", patience).await,
            enter: Script::new(include_str!("enter.lua")),
            report: Script::new(include_str!("report.lua")),
            judge: Judge::Server,
        })
    }

    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Lets a call through, or not. `None` if Redis does not answer in time.
    pub async fn enter(
        &self,
        key: &str,
        bounds: &Bounds,
        cost: f64,
        token: &str,
        known: Option<Known>,
    ) -> Option<Entry> {
        let mut call = self.enter.key(key);
        call.arg(self.judge.micros()).arg(bounds.calls_per_minute).arg(bounds.cost_per_minute);
        call.arg(cost).arg(token).arg(micros(bounds.trial));
        call.arg(known.map(|known| known.busy.to_string()).unwrap_or_default());
        call.arg(u8::from(known.is_some_and(|known| known.untold)));
        let answer: (i64, i64) =
            self.link.ask(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
        match answer {
            (0, _) => Some(Entry::Passes { tries: false }),
            (1, _) => Some(Entry::Passes { tries: true }),
            (2, wait) => Some(Entry::Busy { wait }),
            (3, wait) => Some(Entry::Trying { wait }),
            (4, wait) => Some(Entry::Rate { wait }),
            // Nothing of ours answers so.
            _ => None,
        }
    }

    /// Tells what became of a call, and adds to what is taken. Answers for how many
    /// microseconds the upstream is busy; `None` if Redis does not answer in time.
    pub async fn report(
        &self,
        key: &str,
        bounds: &Bounds,
        token: &str,
        report: Report,
        (calls, cost): (f64, f64),
    ) -> Option<i64> {
        let (name, after) = match report {
            Report::Nothing => ("nothing", 0),
            Report::Served => ("served", 0),
            Report::Busy { after } => ("busy", after),
            Report::Gone => ("gone", 0),
        };
        let mut call = self.report.key(key);
        call.arg(self.judge.micros()).arg(bounds.calls_per_minute).arg(bounds.cost_per_minute);
        call.arg(calls).arg(cost).arg(token).arg(name).arg(after);
        self.link.ask(|mut connection| async move { call.invoke_async(&mut connection).await }).await
    }

    #[cfg(test)]
    pub fn judged_by(&mut self, world: quire_clock::World) {
        self.judge = Judge::Given(world);
    }

    #[cfg(test)]
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}
