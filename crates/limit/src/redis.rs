//! Counting in Redis: one script call per check, so that no other client can come between check and count.

use quire_clock::Timestamp;
use redis::{Client, Script};

use crate::RouteLimit;
use crate::decision::Verdict;
use crate::explanation::Standing;
use crate::judge::Judge;
use crate::keys::Bucket;
use crate::link::{ANSWER, Link, LinkError};

pub(crate) struct Redis {
    link: Link,
    check: Script,
    explain: Script,
    give_back: Script,
    judge: Judge,
}

impl Redis {
    pub async fn connect(url: &str) -> Result<Self, LinkError> {
        let client = Client::open(url).map_err(|_| LinkError)?;
        Ok(Self {
            link: Link::connect(client, "rate limits", ANSWER).await,
            check: Script::new(include_str!("check.lua")),
            explain: Script::new(include_str!("explain.lua")),
            give_back: Script::new(include_str!("give_back.lua")),
            judge: Judge::Server,
        })
    }

    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Counts one call if all policies but the shadows allow it. `None` if Redis does not answer in time.
    pub async fn check<'a>(&self, route: &RouteLimit, buckets: &[Bucket<'a>]) -> Option<Vec<Verdict<'a>>> {
        let answer = self.run(&self.check, route, buckets).await?;
        let (pairs, _) = answer.as_chunks::<2>();
        if pairs.len() != buckets.len() {
            return None;
        }
        let verdicts = buckets.iter().zip(pairs).map(|(bucket, [denied, reset])| Verdict {
            policy: bucket.policy,
            denied: *denied == 1,
            reset: u64::try_from(*reset).unwrap_or(0),
        });
        Some(verdicts.collect())
    }

    /// Writes nothing. `None` if Redis does not answer in time.
    pub async fn explain(&self, route: &RouteLimit, buckets: &[Bucket<'_>]) -> Option<Standing> {
        let answer = self.run(&self.explain, route, buckets).await?;
        let (now, resets) = answer.split_first()?;
        let resets = resets.iter().map(|reset| u64::try_from(*reset).unwrap_or(0)).collect();
        Some(Standing { now: Timestamp::from_unix_micros(*now), resets })
    }

    /// Takes one call back from every policy. `None` if Redis does not answer in time.
    pub async fn give_back(&self, route: &RouteLimit, buckets: &[Bucket<'_>]) -> Option<()> {
        self.run(&self.give_back, route, buckets).await.map(drop)
    }

    async fn run(&self, script: &Script, route: &RouteLimit, buckets: &[Bucket<'_>]) -> Option<Vec<i64>> {
        let mut invocation = script.prepare_invoke();
        invocation.arg(self.judge.micros());
        for Bucket { policy, key, .. } in buckets {
            // The braces keep the keys of one check in one slot of a Redis cluster. Rate and window are part
            // of the name, so that a changed setting starts anew.
            let (quota, window, key) = (policy.quota, policy.window.as_secs(), hex::encode(key));
            invocation.key(format!("quire:limit:{{{}}}:{}:{quota}:{window}:{key}", route.name, policy.name));
            invocation.arg(policy.interval_micros()).arg(policy.tolerance_micros());
            invocation.arg(u8::from(policy.shadow));
        }
        // invoke_async calls EVALSHA and loads the script when Redis does not know it.
        self.link.ask(|mut connection| async move { invocation.invoke_async(&mut connection).await }).await
    }

    #[cfg(test)]
    pub fn judged_by(mut self, world: quire_clock::World) -> Self {
        self.judge = Judge::Given(world);
        self
    }

    #[cfg(test)]
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}
