//! Delivers events to the webhook: signed, with retries, and with the faults that were asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quire_clock::World;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::behaviour::{Behaviour, shuffle};
use crate::record::Data;
use crate::render;
use crate::signature::sign_with_all;
use crate::store::{Effect, Store};

/// How many requests to the webhook may be under way at once.
const MAX_CONCURRENT: usize = 64;

/// How many attempts the log keeps.
const MAX_LOGGED: usize = 10_000;

/// When a delivery that was not acknowledged is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The wait after the first failure. Each further one doubles it.
    pub first_wait: Duration,
    /// The wait never grows beyond this.
    pub longest_wait: Duration,
    /// Time after the event, by the clock, at which it is given up.
    pub give_up_after: Duration,
    /// How long the receiver may take to answer.
    pub deadline: Duration,
}

impl Default for Retry {
    /// One second doubling to an hour, for three days, with five seconds to answer.
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60 * 60),
            give_up_after: Duration::from_secs(3 * 24 * 60 * 60),
            deadline: Duration::from_secs(5),
        }
    }
}

/// One attempt to deliver an event.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// The id of the event.
    pub event: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status of the answer, or nothing if there was none in time.
    pub status: Option<u16>,
    /// Whether the signature was made with a wrong secret on purpose.
    pub forged: bool,
    /// When the attempt began, in seconds since the Unix epoch.
    pub at: i64,
}

/// Sends events to the webhook. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Courier(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    store: Store,
    world: World,
    secrets: Vec<String>,
    retry: Retry,
    queue: Mutex<Queue>,
    attempts: Mutex<VecDeque<Attempt>>,
    permits: Semaphore,
    settled: Notify,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

struct Queue {
    target: Option<String>,
    behaviour: Behaviour,
    /// Events whose first delivery waits for a release or for the address of the webhook.
    held: Vec<String>,
}

/// What a [`Courier`] is made of.
pub(crate) struct CourierParts {
    pub(crate) client: reqwest::Client,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) secrets: Vec<String>,
    pub(crate) retry: Retry,
    pub(crate) target: Option<String>,
    pub(crate) behaviour: Behaviour,
    pub(crate) shutdown: CancellationToken,
}

/// An event as it goes over the wire: the same bytes at every attempt.
struct Parcel {
    event: String,
    kind: String,
    created: i64,
    body: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seal {
    Genuine,
    Forged,
}

impl Courier {
    pub(crate) fn new(parts: CourierParts) -> Self {
        let queue = Queue { target: parts.target, behaviour: parts.behaviour, held: Vec::new() };
        Self(Arc::new(Inner {
            client: parts.client,
            store: parts.store,
            world: parts.world,
            secrets: parts.secrets,
            retry: parts.retry,
            queue: Mutex::new(queue),
            attempts: Mutex::default(),
            permits: Semaphore::new(MAX_CONCURRENT),
            settled: Notify::new(),
            tasks: TaskTracker::new(),
            shutdown: parts.shutdown,
        }))
    }

    /// Delivers these events, or holds them while deliveries are held or have no address.
    pub(crate) fn submit(&self, events: Vec<String>) {
        let mut queue = self.queue();
        queue.held.extend(events);
        if !queue.behaviour.hold {
            self.start_held(queue);
        }
    }

    /// Delivers what is held. Later events are still held if the behaviour says so.
    pub(crate) fn release(&self) -> usize {
        self.start_held(self.queue())
    }

    pub(crate) fn set_target(&self, target: String) {
        self.queue().target = Some(target);
        self.submit(Vec::new());
    }

    pub(crate) fn behaviour(&self) -> Behaviour {
        self.queue().behaviour.clone()
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        self.queue().behaviour = behaviour;
        self.submit(Vec::new());
    }

    pub(crate) fn held(&self) -> usize {
        self.queue().held.len()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.log().iter().cloned().collect()
    }

    /// Returns once no event waits for its acknowledgement.
    pub(crate) async fn drained(&self) {
        loop {
            let settled = self.0.settled.notified();
            if self.0.store.peek(|data| data.undelivered.is_empty()) {
                return;
            }
            settled.await;
        }
    }

    /// Returns once no delivery task runs. Only of use after the shutdown has begun.
    pub(crate) async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn start_held(&self, mut queue: MutexGuard<'_, Queue>) -> usize {
        if queue.target.is_none() {
            return 0;
        }
        let mut batch = std::mem::take(&mut queue.held);
        let behaviour = queue.behaviour.clone();
        drop(queue);
        let count = batch.len();
        if behaviour.shuffle {
            shuffle(&mut batch, behaviour.seed);
            // One after another, since the order of arrival of requests at the same time is anyone's guess.
            let courier = self.clone();
            self.spawn(async move {
                for event in batch {
                    courier.deliver(event, &behaviour).await;
                }
            });
        } else {
            for event in batch {
                let (courier, behaviour) = (self.clone(), behaviour.clone());
                self.spawn(async move { courier.deliver(event, &behaviour).await });
            }
        }
        count
    }

    /// The first attempt, with all its faults. If it fails, the retries go on in the background.
    async fn deliver(&self, event: String, behaviour: &Behaviour) {
        let Some(parcel) = self.0.store.peek(|data| Parcel::pack(data, &event)) else {
            return;
        };
        let parcel = Arc::new(parcel);
        if behaviour.wrong_signature_first {
            self.attempt(&parcel, Seal::Forged).await;
        }
        let copies = TaskTracker::new();
        for _ in 0..behaviour.duplicates {
            let (courier, parcel) = (self.clone(), parcel.clone());
            self.spawn(copies.track_future(async move {
                courier.attempt(&parcel, Seal::Genuine).await;
            }));
        }
        let acknowledged = self.attempt(&parcel, Seal::Genuine).await;
        copies.close();
        copies.wait().await;
        if acknowledged {
            self.settle(&parcel.event).await;
        } else {
            let courier = self.clone();
            self.spawn(async move { courier.retry(&parcel).await });
        }
    }

    async fn retry(&self, parcel: &Parcel) {
        let retry = self.0.retry;
        let mut wait = retry.first_wait;
        loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(retry.longest_wait);
            let age = self.0.world.now().unix_seconds() - parcel.created;
            if u64::try_from(age).is_ok_and(|age| age >= retry.give_up_after.as_secs()) {
                tracing::warn!(event = %parcel.event, kind = %parcel.kind, "event given up");
                return self.settle(&parcel.event).await;
            }
            if self.attempt(parcel, Seal::Genuine).await {
                return self.settle(&parcel.event).await;
            }
        }
    }

    /// Sends the event once. Tells whether the receiver took it.
    async fn attempt(&self, parcel: &Parcel, seal: Seal) -> bool {
        let Ok(_permit) = self.0.permits.acquire().await else {
            return false;
        };
        let Some(target) = self.queue().target.clone() else {
            return false;
        };
        let at = self.0.world.now().unix_seconds();
        let signature = match seal {
            Seal::Genuine => sign_with_all(&self.0.secrets, at, &parcel.body),
            Seal::Forged => sign_with_all(&[hex::encode(self.0.world.bytes::<16>())], at, &parcel.body),
        };
        let request = self
            .0
            .client
            .post(target)
            .timeout(self.0.retry.deadline)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(USER_AGENT, "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", signature)
            .body(parcel.body.clone());
        let span = tracing::info_span!("webhook delivery", event = %parcel.event, kind = %parcel.kind);
        let status = async {
            match request.send().await {
                Ok(response) => Some(response.status()),
                Err(error) => {
                    // The address may carry a token, so it is left out.
                    tracing::debug!(error = %error.without_url(), "webhook not reached");
                    None
                }
            }
        }
        .instrument(span)
        .await;
        let mut log = self.log();
        if log.len() == MAX_LOGGED {
            log.pop_front();
        }
        log.push_back(Attempt {
            event: parcel.event.clone(),
            kind: parcel.kind.clone(),
            status: status.map(|status| status.as_u16()),
            forged: seal == Seal::Forged,
            at,
        });
        status.is_some_and(|status| status.is_success())
    }

    async fn settle(&self, event: &str) {
        let settle = |data: &mut Data| {
            data.undelivered.retain(|id| id != event);
            ((), Effect::Changed)
        };
        let ((), version) = self.0.store.run(settle);
        if let Err(error) = self.0.store.flush(version).await {
            tracing::error!(%error, "delivery not recorded: the event is sent again after a restart");
        }
        self.0.settled.notify_waiters();
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            // What is cut off here is still in the store, and is taken up at the next start.
            shutdown.run_until_cancelled(work).await;
        });
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().expect("no holder panics")
    }

    fn log(&self) -> MutexGuard<'_, VecDeque<Attempt>> {
        self.0.attempts.lock().expect("no holder panics")
    }
}

impl Parcel {
    fn pack(data: &Data, event: &str) -> Option<Self> {
        let event = data.events.get(event)?;
        // Indented, as Stripe sends it: a receiver that verifies re-encoded JSON fails here as it would there.
        let body = serde_json::to_vec_pretty(&render::event(event, 1)).expect("a JSON value can be written");
        Some(Self {
            event: event.id.clone(),
            kind: event.kind.clone(),
            created: event.created,
            body: body.into(),
        })
    }
}
