//! Calls of a service that sets limits to its callers, such as a provider of language models.
//!
//! An upstream has two token buckets that fill up within a minute, one of calls and one of what calls cost, and a
//! circuit breaker. A call takes from both buckets before it is made, by what it may cost; afterwards it is settled by
//! what it cost, which may leave less than nothing; one that got no answer gives everything back. An upstream that
//! says that it is busy is left alone for as long as it asked. Then one call tries whether it lets anybody in, and the
//! others wait for that.
//!
//! With Redis, all replicas share this, by the clock of the server: one of all of them tries. Each process keeps its
//! own account beside it, with what Redis told it and what the upstream told its own calls. By that it decides alone
//! while Redis does not answer in time; and a Redis that has forgotten a busy upstream is told so by the first
//! that asks. So Redis decides nothing but how many calls are refused.

mod account;
mod pass;
mod remote;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quire_clock::World;
use quire_serve::metrics::Scope;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::LinkError;
use account::{Account, Entry};
use remote::Remote;

pub use pass::{Answer, Pass};

/// Others look again so long after one has gone to try.
const TRYING: Duration = Duration::from_secs(1);
/// However long an upstream asks to be left alone.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long calls usually wait for Redis.
pub const PATIENCE: Duration = crate::link::ANSWER;

/// What an upstream allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// 0: no bound.
    pub calls_per_minute: u32,
    /// 0: no bound.
    pub cost_per_minute: u32,
    /// Longer than an upstream may take to answer: after this, another call may try instead of one that is lost.
    pub trial: Duration,
}

/// Where a breaker stands, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Everybody may call.
    Closed,
    /// Nobody may for now, or one may try.
    Open,
    /// One has gone to try.
    Trying,
}

/// Opens upstreams that share one connection. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams {
    world: World,
    clock: Ticks,
    remote: Option<Arc<Remote>>,
}

/// One upstream.
pub struct Upstream {
    key: String,
    bounds: Bounds,
    world: World,
    clock: Ticks,
    account: Mutex<Account>,
    remote: Option<Arc<Remote>>,
}

/// The time of this process in microseconds, which no one can set back.
#[derive(Clone)]
enum Ticks {
    Since(Instant),
    /// A test's.
    #[cfg(test)]
    Given(World),
}

impl Upstreams {
    /// For a process that is the only one.
    pub fn alone(world: World) -> Self {
        Self { world, clock: Ticks::Since(Instant::now()), remote: None }
    }

    /// Shared by all that are given this Redis. Waits at most two seconds for it, and then for each answer at most
    /// `patience`; while none comes, the process decides by itself.
    ///
    /// # Errors
    /// The address is not a Redis URL.
    pub async fn connect(redis_url: &str, world: World, patience: Duration) -> Result<Self, LinkError> {
        let remote = Some(Arc::new(Remote::connect(redis_url, patience).await?));
        Ok(Self { remote, ..Self::alone(world) })
    }

    /// Shows from now on whether Redis is out of reach.
    pub fn exposed(self, scope: &Scope) -> Self {
        let remote = self.remote.clone();
        let help = "1 while Redis is set but does not answer, so that this process limits by itself";
        scope.gauge("limiter_degraded", help, move || match &remote {
            Some(remote) if !remote.is_up() => 1.0,
            _ => 0.0,
        });
        self
    }

    #[cfg(test)]
    pub(crate) fn judged_by(mut self, world: &World) -> Self {
        self.clock = Ticks::Given(world.clone());
        if let Some(remote) = &mut self.remote {
            Arc::get_mut(remote).expect("nothing is open").judged_by(world.clone());
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn link(&mut self) -> &mut crate::link::Link {
        let remote = self.remote.as_mut().expect("it is on Redis");
        Arc::get_mut(remote).expect("nothing is open").link()
    }

    /// The upstream of this name. Who opens the same name on the same Redis shares it, whatever its bounds.
    pub fn open(&self, name: &str, bounds: Bounds) -> Arc<Upstream> {
        Arc::new(Upstream {
            key: format!("quire:upstream:{}", hex::encode(Sha256::digest(name))),
            bounds,
            world: self.world.clone(),
            clock: self.clock.clone(),
            account: Mutex::default(),
            remote: self.remote.clone(),
        })
    }
}

impl Upstream {
    /// Lets a call through that may cost so much.
    ///
    /// # Errors
    /// The time after which it may pass.
    pub async fn enter(self: &Arc<Self>, cost: i64) -> Result<Pass, Duration> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mut pass = Pass::new(self.clone(), self.world.id(), cost.max(0) as f64);
        let now = self.clock.now();
        // What the upstream said is not asked of Redis again. In a statement of its own: the lock must not be held
        // while Redis is asked.
        let busy = self.account().busy(now);
        let entry = match busy {
            Some(wait) => Some(Entry::Busy { wait }),
            None => self.ask_remote(&mut pass, now).await,
        };
        let entry = entry.unwrap_or_else(|| {
            let mut account = self.account();
            let entry = account.look(&self.bounds, pass.cost(), now);
            if let Entry::Passes { tries } = entry {
                account.take(&self.bounds, pass.cost(), now);
                if tries {
                    account.try_as(pass.token(), now + micros(self.bounds.trial));
                }
            }
            entry
        });
        let wait = match entry {
            Entry::Passes { .. } => {
                pass.admit();
                return Ok(pass);
            }
            Entry::Busy { wait } | Entry::Rate { wait } => duration(wait),
            Entry::Trying { wait } => duration(wait).min(TRYING),
        };
        pass.refuse();
        // A wait of nothing would be a pass.
        Err(wait.max(Duration::from_millis(1)))
    }

    /// As far as this process knows.
    pub fn breaker(&self) -> Breaker {
        self.account().breaker(self.clock.now())
    }

    /// What Redis says, entered into the account of this process. `None`: it does not answer.
    async fn ask_remote(&self, pass: &mut Pass, now: i64) -> Option<Entry> {
        let remote = self.remote.as_ref()?;
        let known = self.account().known(now);
        pass.asks_remote();
        let entry = remote.enter(&self.key, &self.bounds, pass.cost(), pass.token(), known).await?;
        pass.remote_says(&entry);
        let mut account = self.account();
        account.told(true);
        match entry {
            Entry::Passes { tries } => {
                account.take(&self.bounds, pass.cost(), now);
                if tries {
                    account.try_as(pass.token(), now + micros(self.bounds.trial));
                } else {
                    account.close();
                }
            }
            Entry::Busy { wait } => account.open(now + wait),
            Entry::Trying { wait } => {
                account.open(now);
                account.tries_elsewhere(now + wait, now);
            }
            Entry::Rate { .. } => {}
        }
        Some(entry)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticks {
    fn now(&self) -> i64 {
        match self {
            Self::Since(start) => micros(start.elapsed()),
            #[cfg(test)]
            Self::Given(world) => world.now().unix_micros(),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
