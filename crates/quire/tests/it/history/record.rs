//! What clients, the provider and the nemesis did, in the order in which it happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quire_clock::World;

/// One thing that somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A customer opens the checkout of a document. The order is known once that is answered.
    Open { document: String, order: Option<String> },
    /// A customer pays an order at the provider.
    Pay { order: String },
    /// The provider delivers an event to some replica.
    Deliver { event: String },
    /// Something is done to a process.
    Fault { what: String },
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Invoke,
    /// It was done.
    Ok,
    /// It was refused: it was not done.
    Fail,
    /// Nobody knows whether it was done.
    Info,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Microseconds since the Unix epoch.
    pub at: i64,
    /// The same in both entries of an operation.
    pub operation: u64,
    pub phase: Phase,
    pub act: Act,
}

/// Writes the history. Clones write the same.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    world: World,
    entries: Mutex<Vec<Entry>>,
    operations: AtomicU64,
}

/// An operation whose end is not known. Dropping it leaves it so.
pub struct Pending {
    recorder: Recorder,
    operation: u64,
    act: Act,
}

impl Recorder {
    pub fn new(world: World) -> Self {
        Self(Arc::new(Inner { world, entries: Mutex::default(), operations: AtomicU64::new(0) }))
    }

    /// An operation begins.
    pub fn invoke(&self, act: Act) -> Pending {
        let operation = self.0.operations.fetch_add(1, Ordering::Relaxed);
        self.write(operation, Phase::Invoke, act.clone());
        Pending { recorder: self.clone(), operation, act }
    }

    /// Everything so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.entries.lock().unwrap().clone()
    }

    fn write(&self, operation: u64, phase: Phase, act: Act) {
        // The time is taken under the lock, so that the entries are in its order.
        let mut entries = self.0.entries.lock().unwrap();
        let at = self.0.world.now().unix_micros();
        entries.push(Entry { at, operation, phase, act });
    }
}

impl Pending {
    pub fn ends(self, phase: Phase) {
        let Self { recorder, operation, act } = self;
        recorder.write(operation, phase, act);
    }

    /// A checkout is open: this is its order.
    pub fn opened(self, order: &str) {
        let Self { recorder, operation, act } = self;
        let act = match act {
            Act::Open { document, .. } => Act::Open { document, order: Some(order.to_owned()) },
            other => other,
        };
        recorder.write(operation, Phase::Ok, act);
    }
}
