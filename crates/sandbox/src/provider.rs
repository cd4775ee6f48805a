//! One payment provider: its data, its clock and its deliveries.

use std::io;

use quire_clock::World;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::checkout;
use crate::delivery::Courier;
use crate::desk::{Desk, Origin};
use crate::idempotency::Running;
use crate::store::Store;

/// What all handlers share.
pub(crate) struct Provider {
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) public_url: String,
    pub(crate) keys: Keys,
    pub(crate) running: Running,
    pub(crate) courier: Courier,
}

impl Provider {
    /// Runs one transaction, waits until it is on disk, and hands its events over for delivery.
    pub(crate) async fn transact<T>(
        &self,
        origin: &Origin,
        work: impl FnOnce(&mut Desk<'_>) -> T,
    ) -> (T, io::Result<()>) {
        let ((result, events), version) = self.store.run(|data| {
            let mut desk = Desk::new(data, &self.world, &self.public_url, origin);
            let result = work(&mut desk);
            let (events, effect) = desk.close();
            ((result, events), effect)
        });
        let (store, courier) = (self.store.clone(), self.courier.clone());
        let finish = async move {
            let saved = store.flush(version).await;
            if let Err(error) = &saved {
                tracing::error!(%error, "state file not written");
            }
            // Even if the file was not written, the API now shows the change, so its events must follow.
            if !events.is_empty() {
                courier.submit(events);
            }
            saved
        };
        // A task of its own, so that the events go out even if the caller hangs up while we write.
        let saved = tokio::spawn(finish).await.map_err(io::Error::other).flatten();
        (result, saved)
    }

    /// Does what is due by the clock.
    pub(crate) async fn tick(&self) {
        let work = |desk: &mut Desk<'_>| {
            checkout::expire_all_due(desk);
            desk.forget_old();
        };
        // A failure to write is logged there, and the next tick writes again.
        let _ = self.transact(&Origin::default(), work).await;
    }
}

/// The accepted API keys, kept as digests so that all comparisons take the same time.
pub(crate) struct Keys(Vec<[u8; 32]>);

impl Keys {
    pub(crate) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| Sha256::digest(key).into()).collect())
    }

    pub(crate) fn accept(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let matches = self.0.iter().map(|key| key.ct_eq(&presented));
        matches.fold(Choice::from(0), |any, one| any | one).into()
    }
}
