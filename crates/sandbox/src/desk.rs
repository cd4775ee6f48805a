//! One transaction: what an endpoint may see and change, and the events that it causes.

use quire_clock::World;
use serde_json::Value;

use crate::bank::Bank;
use crate::record::{Data, Event};
use crate::refusal::Refusal;
use crate::store::Effect;

/// Events are listed for 30 days, as at Stripe.
const EVENT_LIFE_SECONDS: i64 = 30 * 24 * 60 * 60;

/// Answers under an idempotency key are kept for a day, as at Stripe.
const ANSWER_LIFE_SECONDS: i64 = 24 * 60 * 60;

/// Who caused a change. The hosted page and the clock are no API request.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    /// The caller has a publishable key only.
    pub(crate) browser: bool,
}

/// The access to the data during one transaction.
pub(crate) struct Desk<'a> {
    data: &'a mut Data,
    world: &'a World,
    pub(crate) public_url: &'a str,
    /// Seconds since the Unix epoch, the same during the whole transaction.
    pub(crate) now: i64,
    pub(crate) bank: Bank,
    origin: &'a Origin,
    emitted: Vec<String>,
    effect: Effect,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        data: &'a mut Data,
        world: &'a World,
        public_url: &'a str,
        bank: Bank,
        origin: &'a Origin,
    ) -> Self {
        let now = world.now().unix_seconds();
        Self { data, world, public_url, now, bank, origin, emitted: Vec::new(), effect: Effect::Read }
    }

    /// Whether a buyer's browser asks, which must not see everything.
    pub(crate) fn by_browser(&self) -> bool {
        self.origin.browser
    }

    pub(crate) fn data(&self) -> &Data {
        self.data
    }

    /// The data to change. Whoever takes it must change something, since it is then written to disk.
    pub(crate) fn edit(&mut self) -> &mut Data {
        self.effect = Effect::Changed;
        self.data
    }

    /// A new id with Stripe's prefix for the kind of object.
    pub(crate) fn id(&self, prefix: &str) -> String {
        new_id(self.world, prefix)
    }

    /// Records an event about an object as it is now; its delivery begins after the transaction.
    pub(crate) fn emit(&mut self, kind: &str, object: Value) {
        let id = self.id("evt");
        let event = Event {
            id: id.clone(),
            created: self.now,
            kind: kind.to_owned(),
            object,
            request_id: self.origin.request_id.clone(),
            idempotency_key: self.origin.idempotency_key.clone(),
            given_up: false,
        };
        let data = self.edit();
        data.events.push(event);
        data.undelivered.push(id.clone());
        self.emitted.push(id);
    }

    /// Has an event delivered once more.
    pub(crate) fn resend(&mut self, id: &str) -> Result<(), Refusal> {
        if self.data.events.get(id).is_none() {
            return Err(Refusal::missing("event", "id", id));
        }
        if self.data.undelivered.iter().any(|waiting| waiting == id) {
            let message = format!("The event {id} is being delivered already.");
            return Err(Refusal::state("unexpected_state", None, message));
        }
        let data = self.edit();
        if let Some(event) = data.events.get_mut(id) {
            event.given_up = false;
        }
        data.undelivered.push(id.to_owned());
        self.emitted.push(id.to_owned());
        Ok(())
    }

    /// Drops the events and the saved answers that have had their time.
    pub(crate) fn forget_old(&mut self) {
        let (oldest_event, oldest_answer) = (self.now - EVENT_LIFE_SECONDS, self.now - ANSWER_LIFE_SECONDS);
        let answers = self.data.answers.len();
        self.data.answers.retain(|_, answer| answer.created >= oldest_answer);
        let mut forgot = self.data.answers.len() < answers;
        if self.data.events.forget_before(oldest_event) {
            let events = &self.data.events;
            self.data.undelivered.retain(|id| events.get(id).is_some());
            forgot = true;
        }
        if forgot {
            self.effect = Effect::Changed;
        }
    }

    /// Ends the transaction: the ids of the new events, oldest first, and whether there is anything to write.
    pub(crate) fn close(self) -> (Vec<String>, Effect) {
        (self.emitted, self.effect)
    }
}

/// A new id: the prefix and 128 random bits.
pub(crate) fn new_id(world: &World, prefix: &str) -> String {
    format!("{prefix}_{}", hex::encode(world.bytes::<16>()))
}
