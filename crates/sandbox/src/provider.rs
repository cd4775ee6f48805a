//! One payment provider: its data, its clock and its deliveries.

use std::io;
use std::sync::Mutex;

use quire_clock::World;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio_util::sync::CancellationToken;

use crate::bank::{self, Bank};
use crate::checkout;
use crate::delivery::Courier;
use crate::desk::{Desk, Origin};
use crate::faults::Faults;
use crate::idempotency::Running;
use crate::refusal::Refusal;
use crate::store::Store;

/// What all handlers share.
pub(crate) struct Provider {
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) public_url: String,
    pub(crate) keys: Keys,
    pub(crate) running: Running,
    pub(crate) courier: Courier,
    pub(crate) faults: Faults,
    pub(crate) bank: Mutex<Bank>,
    pub(crate) shutdown: CancellationToken,
}

impl Provider {
    /// Runs one transaction, waits until it is on disk, and hands its events over for delivery.
    pub(crate) async fn transact<T>(
        &self,
        origin: &Origin,
        work: impl FnOnce(&mut Desk<'_>) -> T,
    ) -> (T, io::Result<()>) {
        let bank = self.bank();
        let ((result, events), version) = self.store.run(|data| {
            let mut desk = Desk::new(data, &self.world, &self.public_url, bank, origin);
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

    /// Does what someone at the controls wants.
    pub(crate) async fn command<T>(
        &self,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (result, saved) = self.transact(&Origin::default(), work).await;
        let result = result?;
        saved.map_err(|_| Refusal::not_saved())?;
        Ok(result)
    }

    /// Does what is due by the clock.
    pub(crate) async fn tick(&self) {
        let work = |desk: &mut Desk<'_>| {
            checkout::expire_all_due(desk);
            bank::settle_due(desk);
            desk.forget_old();
        };
        // A failure to write is logged there, and the next tick writes again.
        let _ = self.transact(&Origin::default(), work).await;
    }

    pub(crate) fn bank(&self) -> Bank {
        *self.bank.lock().expect("no holder panics")
    }

    pub(crate) fn set_bank(&self, bank: Bank) {
        *self.bank.lock().expect("no holder panics") = bank;
    }
}

/// Whose key was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The holder of a secret key.
    Merchant,
    /// A page that anyone can look at, with the publishable key.
    Browser,
}

/// The accepted API keys, kept as digests so that all comparisons take the same time.
pub(crate) struct Keys {
    secret: Vec<[u8; 32]>,
    publishable: [u8; 32],
}

impl Keys {
    pub(crate) fn new(secret: &[String], publishable: &str) -> Self {
        let secret = secret.iter().map(|key| Sha256::digest(key).into()).collect();
        Self { secret, publishable: Sha256::digest(publishable).into() }
    }

    /// Who holds this key, if anyone does.
    pub(crate) fn holder(&self, presented: &str) -> Option<Caller> {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let matches = self.secret.iter().map(|key| key.ct_eq(&presented));
        let secret: bool = matches.fold(Choice::from(0), |any, one| any | one).into();
        let publishable: bool = self.publishable.ct_eq(&presented).into();
        match (secret, publishable) {
            (true, _) => Some(Caller::Merchant),
            (false, true) => Some(Caller::Browser),
            (false, false) => None,
        }
    }
}
