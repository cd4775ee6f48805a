//! Delivers events to the webhook: signed, with retries, and with the faults that were asked for.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quire_clock::World;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::attempts::{Attempt, Attempts};
use crate::behaviour::Behaviour;
use crate::dice::Dice;
use crate::parcel::{Parcel, Plan, send};
use crate::record::Data;
use crate::refusal::Refusal;
use crate::signature::sign;
use crate::signer::Signer;
use crate::store::{Effect, Store};
use crate::transit::Transit;

/// How many requests to the webhook may be under way at once.
const MAX_CONCURRENT: usize = 64;

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

/// Sends events to the webhook. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Courier(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    store: Store,
    world: World,
    retry: Retry,
    queue: Mutex<Queue>,
    /// Whether the endpoint takes part at all.
    enabled: watch::Sender<bool>,
    attempts: Attempts,
    permits: Semaphore,
    settled: Notify,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

struct Queue {
    target: Option<String>,
    signer: Signer,
    behaviour: Behaviour,
    transit: Transit,
    dice: Dice,
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
    pub(crate) transit: Transit,
    pub(crate) shutdown: CancellationToken,
}

/// How an event ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Acknowledged,
    GivenUp,
}

/// What is done with one copy of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Genuine,
    Forged,
    Lost,
}

impl Courier {
    pub(crate) fn new(parts: CourierParts) -> Self {
        let queue = Queue {
            target: parts.target,
            signer: Signer::new(parts.secrets),
            dice: Dice::new(parts.behaviour.seed),
            behaviour: parts.behaviour,
            transit: parts.transit,
            held: Vec::new(),
        };
        Self(Arc::new(Inner {
            client: parts.client,
            store: parts.store,
            world: parts.world,
            retry: parts.retry,
            queue: Mutex::new(queue),
            enabled: watch::Sender::new(true),
            attempts: Attempts::default(),
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
        if !queue.behaviour.hold || !self.enabled() {
            self.start_held(queue);
        }
    }

    /// Delivers what is held. Later events are still held if the behaviour says so.
    pub(crate) fn release(&self) -> usize {
        self.start_held(self.queue())
    }

    pub(crate) fn target(&self) -> Option<String> {
        self.queue().target.clone()
    }

    pub(crate) fn set_target(&self, target: String) {
        self.queue().target = Some(target);
        self.submit(Vec::new());
    }

    pub(crate) fn enabled(&self) -> bool {
        *self.0.enabled.borrow()
    }

    /// A disabled endpoint gets nothing: what happens meanwhile and what was under way is given up.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.0.enabled.send_replace(enabled);
        self.submit(Vec::new());
    }

    pub(crate) fn behaviour(&self) -> Behaviour {
        self.queue().behaviour.clone()
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        let mut queue = self.queue();
        queue.dice = Dice::new(behaviour.seed);
        queue.behaviour = behaviour;
        drop(queue);
        self.submit(Vec::new());
    }

    pub(crate) fn transit(&self) -> Transit {
        self.queue().transit.clone()
    }

    pub(crate) fn set_transit(&self, transit: Transit) {
        let mut queue = self.queue();
        queue.dice = Dice::new(queue.behaviour.seed);
        queue.transit = transit;
    }

    /// Replaces the secrets; the old ones sign along for the overlap.
    pub(crate) fn rotate(&self, secrets: Vec<String>, overlap_seconds: u32) -> Result<(), Refusal> {
        let now = self.now();
        self.queue().signer.rotate(secrets, overlap_seconds, now)
    }

    /// How many secrets sign now.
    pub(crate) fn secrets(&self) -> usize {
        let now = self.now();
        self.queue().signer.count(now)
    }

    pub(crate) fn held(&self) -> usize {
        self.queue().held.len()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.0.attempts.all()
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
        if !self.enabled() {
            let batch = std::mem::take(&mut queue.held);
            drop(queue);
            if !batch.is_empty() {
                let courier = self.clone();
                self.spawn(async move { courier.settle(&batch, End::GivenUp).await });
            }
            return 0;
        }
        if queue.target.is_none() {
            return 0;
        }
        let batch = std::mem::take(&mut queue.held);
        let shuffled = queue.behaviour.shuffle;
        let mut plans: Vec<Plan> = batch.into_iter().map(|event| queue.plan(event)).collect();
        if shuffled {
            // Each batch begins with the seed, so that the same batch always gets the same order.
            Dice::new(queue.behaviour.seed).shuffle(&mut plans);
        }
        drop(queue);
        let count = plans.len();
        if shuffled {
            // One after another, since the order of arrival of requests at the same time is anyone's guess.
            let courier = self.clone();
            self.spawn(async move {
                for plan in plans {
                    courier.deliver(plan).await;
                }
            });
        } else {
            for plan in plans {
                let courier = self.clone();
                self.spawn(async move { courier.deliver(plan).await });
            }
        }
        count
    }

    /// The first attempt, with all its faults. If it fails, the retries go on in the background.
    async fn deliver(&self, plan: Plan) {
        let Some(parcel) = self.0.store.peek(|data| Parcel::pack(data, &plan.event)) else {
            return;
        };
        if !plan.fate.delay.is_zero() {
            tokio::time::sleep(plan.fate.delay).await;
        }
        let parcel = Arc::new(parcel);
        if plan.forged_first {
            self.attempt(&parcel, Sending::Forged).await;
        }
        let copy = if plan.fate.lost > 0 { Sending::Lost } else { Sending::Genuine };
        let copies = TaskTracker::new();
        for _ in 0..plan.duplicates {
            let (courier, parcel) = (self.clone(), parcel.clone());
            self.spawn(copies.track_future(async move {
                courier.attempt(&parcel, copy).await;
            }));
        }
        let acknowledged = self.attempt(&parcel, copy).await;
        copies.close();
        copies.wait().await;
        if acknowledged {
            self.settle(std::slice::from_ref(&parcel.event), End::Acknowledged).await;
        } else if copy == Sending::Lost && plan.give_up {
            self.settle(std::slice::from_ref(&parcel.event), End::GivenUp).await;
        } else {
            let (courier, lost) = (self.clone(), plan.fate.lost.saturating_sub(1));
            self.spawn(async move {
                let end = courier.retry(&parcel, lost).await;
                courier.settle(std::slice::from_ref(&parcel.event), end).await;
            });
        }
    }

    /// Repeats an event until it is taken or given up. So many attempts are still lost.
    async fn retry(&self, parcel: &Parcel, mut lost: u32) -> End {
        let retry = self.0.retry;
        let mut wait = retry.first_wait;
        let mut enabled = self.0.enabled.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = enabled.wait_for(|enabled| !enabled) => return End::GivenUp,
            }
            wait = (wait * 2).min(retry.longest_wait);
            let age = self.now() - parcel.created;
            if u64::try_from(age).is_ok_and(|age| age >= retry.give_up_after.as_secs()) {
                tracing::warn!(event = %parcel.event, kind = %parcel.kind, "event given up");
                return End::GivenUp;
            }
            let copy = if lost > 0 { Sending::Lost } else { Sending::Genuine };
            lost = lost.saturating_sub(1);
            if self.attempt(parcel, copy).await {
                return End::Acknowledged;
            }
        }
    }

    /// Sends the event once. Tells whether the receiver took it.
    async fn attempt(&self, parcel: &Parcel, copy: Sending) -> bool {
        let Ok(_permit) = self.0.permits.acquire().await else {
            return false;
        };
        let at = self.now();
        let status = match copy {
            Sending::Lost => None,
            Sending::Genuine | Sending::Forged => {
                let Some(request) = self.request(parcel, copy, at) else { return false };
                let span =
                    tracing::info_span!("webhook delivery", event = %parcel.event, kind = %parcel.kind);
                send(request).instrument(span).await
            }
        };
        self.0.attempts.add(Attempt {
            event: parcel.event.clone(),
            kind: parcel.kind.clone(),
            status: status.map(|status| status.as_u16()),
            forged: copy == Sending::Forged,
            lost: copy == Sending::Lost,
            at,
        });
        status.is_some_and(|status| status.is_success())
    }

    /// The request that carries the event, if there is anywhere to send it.
    fn request(&self, parcel: &Parcel, copy: Sending, at: i64) -> Option<reqwest::RequestBuilder> {
        let queue = self.queue();
        let target = queue.target.clone().filter(|_| self.enabled())?;
        let timestamp = at.saturating_add(queue.transit.clock_skew_seconds);
        let signature = if copy == Sending::Forged {
            sign(&hex::encode(self.0.world.bytes::<16>()), timestamp, &parcel.body)
        } else {
            queue.signer.header(at, timestamp, &parcel.body)
        };
        Some(parcel.request(&self.0.client, &target, signature, self.0.retry.deadline))
    }

    async fn settle(&self, events: &[String], end: End) {
        let settle = |data: &mut Data| {
            data.undelivered.retain(|id| !events.contains(id));
            for event in events {
                if let Some(event) = data.events.get_mut(event) {
                    event.given_up = end == End::GivenUp;
                }
            }
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

    fn now(&self) -> i64 {
        self.0.world.now().unix_seconds()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().expect("no holder panics")
    }
}

impl Queue {
    fn plan(&mut self, event: String) -> Plan {
        let fate = self.transit.draw(&mut self.dice);
        Plan {
            event,
            duplicates: self.behaviour.duplicates,
            forged_first: self.behaviour.wrong_signature_first || fate.forged_first,
            fate,
            give_up: self.transit.give_up,
        }
    }
}
