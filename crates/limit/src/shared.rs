//! Counts that all replicas share, and those of this process for when they are out of reach.

use quire_clock::World;

use crate::decision::Verdict;
use crate::denials::Denials;
use crate::keys::Bucket;
use crate::memory::Memory;
use crate::redis::Redis;
use crate::{Decision, Explanation, RouteLimit, Source};

pub(crate) struct Shared {
    redis: Redis,
    denials: Denials,
    local: Memory,
    world: World,
}

impl Shared {
    pub fn new(redis: Redis, world: World) -> Self {
        Self { redis, denials: Denials::new(world.clone()), local: Memory::default(), world }
    }

    pub fn is_up(&self) -> bool {
        self.redis.is_up()
    }

    /// A remembered denial comes first, also while Redis does not answer: it is what Redis would say.
    pub async fn check(&self, route: &RouteLimit, buckets: &[Bucket<'_>]) -> Decision {
        let known = self.denials.known(route, buckets);
        if let Some(verdicts) = known.denial(buckets) {
            return Decision::of(route, &verdicts, Source::Redis);
        }
        let Some(verdicts) = self.redis.check(route, buckets).await else {
            let verdicts = self.local.check(route, buckets, self.world.now());
            return Decision::of(route, &verdicts, Source::Local);
        };
        if verdicts.iter().any(Verdict::denies) {
            self.denials.remember(route, buckets, &verdicts, &known);
        }
        Decision::of(route, &verdicts, Source::Redis)
    }

    pub async fn explain(&self, route: &RouteLimit, buckets: &[Bucket<'_>]) -> Explanation {
        let (standing, source) = match self.redis.explain(route, buckets).await {
            Some(standing) => (standing, Source::Redis),
            None => (self.local.explain(route, buckets, self.world.now()), Source::Local),
        };
        let known = self.denials.known(route, buckets);
        Explanation::of(buckets, &standing, &known.waits, source)
    }

    /// Goes to whoever counts now, which may not be who counted the call.
    pub async fn give_back(&self, route: &RouteLimit, buckets: &[Bucket<'_>]) {
        if self.redis.give_back(route, buckets).await.is_none() {
            self.local.give_back(route, buckets, self.world.now());
        }
        self.denials.forget(route, buckets);
    }
}
