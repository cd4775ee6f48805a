//! The life of a signing key: standby (published, so that every verifier knows it), active (signs), retired
//! (verifies what it has signed), revoked (verifies nothing; its private part is gone).

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_clock::{Timestamp, World};
use quire_identity::Origin;
use sea_orm::DbErr;
use sha2::{Digest, Sha256};

use super::{ACTIVE, KeyError, RETIRED, REVOKED, STANDBY, Seals};
use crate::audit::{self, Attempt};
use crate::change::{Change, Step};
use crate::store::{self, KeyStep, signing_key};

/// How long keys stay in their states.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// From standby to active: at least as long as anybody may cache the published keys.
    pub standby: Duration,
    /// From retired to revoked: until every refresh token it signed has ended.
    pub retired: Duration,
}

impl Lives {
    /// When the next step of a key is due by itself.
    pub fn due(&self, key: &signing_key::Model) -> Option<Timestamp> {
        match key.state.as_str() {
            STANDBY => Some(Timestamp::from_unix_micros(key.activate_at)),
            RETIRED => Some(Timestamp::from_unix_micros(key.retired_at?).plus(self.retired)),
            _ => None,
        }
    }
}

/// A key as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    pub kid: String,
    pub state: String,
    pub created_at: Timestamp,
    /// When it began to sign, or will.
    pub activate_at: Timestamp,
    pub retired_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl From<signing_key::Model> for KeyInfo {
    fn from(key: signing_key::Model) -> Self {
        Self {
            kid: key.kid,
            state: key.state,
            created_at: Timestamp::from_unix_micros(key.created_at),
            activate_at: Timestamp::from_unix_micros(key.activate_at),
            retired_at: key.retired_at.map(Timestamp::from_unix_micros),
            revoked_at: key.revoked_at.map(Timestamp::from_unix_micros),
        }
    }
}

/// Begins a rotation: publishes a key that will be the next to sign. With one on standby already, only
/// `standby == 0` does something: it lets that one sign now.
pub struct Rotate {
    pub seals: Seals,
    pub standby: Duration,
    /// Only if there is no key that signs.
    only_first: bool,
}

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    pub kid: String,
    /// When it signs.
    pub activate_at: Timestamp,
}

impl Rotate {
    pub fn new(seals: Seals, standby: Duration) -> Self {
        Self { seals, standby, only_first: false }
    }

    pub fn first(seals: Seals) -> Self {
        Self { seals, standby: Duration::ZERO, only_first: true }
    }
}

#[async_trait]
impl Change for Rotate {
    type Outcome = Result<Rotated, KeyError>;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Self::Outcome, DbErr> {
        let keys = store::signing_keys(step.connection).await?;
        let of = |state: &str| keys.iter().find(|key| key.state == state);
        if self.only_first
            && let Some(active) = of(ACTIVE)
        {
            // Another replica was first.
            let activate_at = Timestamp::from_unix_micros(active.activate_at);
            return Ok(Ok(Rotated { kid: active.kid.clone(), activate_at }));
        }
        let (kid, mut activate_at) = match of(STANDBY) {
            Some(standby) => (standby.kid.clone(), Timestamp::from_unix_micros(standby.activate_at)),
            None => {
                let activate_at = step.now.plus(self.standby);
                let key = match fresh(&self.seals, step.world(), step.now, activate_at) {
                    Ok(key) => key,
                    Err(error) => return Ok(Err(error)),
                };
                let kid = key.kid.clone();
                store::add_signing_key(step.connection, key).await?;
                record(step, audit::KEY_CREATED, &kid);
                (kid, activate_at)
            }
        };
        if self.standby.is_zero() {
            activate(step, &keys, &kid).await?;
            activate_at = step.now;
        }
        step.announce();
        Ok(Ok(Rotated { kid, activate_at }))
    }
}

/// Whatever is due in the lives of the keys.
pub struct Advance {
    pub lives: Lives,
}

#[async_trait]
impl Change for Advance {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        let keys = store::signing_keys(step.connection).await?;
        let due = keys.iter().filter(|key| self.lives.due(key).is_some_and(|due| due <= step.now));
        let due: Vec<_> = due.cloned().collect();
        for key in due {
            match key.state.as_str() {
                STANDBY => activate(step, &keys, &key.kid).await?,
                _ => revoke(step, &key.kid).await?,
            }
            step.announce();
        }
        Ok(())
    }
}

/// Takes a key out of use at once, because it leaked: every token it has signed ends. If it was the one that
/// signs, the one on standby, or a new one, takes its place.
pub struct Revoke {
    pub kid: String,
    pub seals: Seals,
}

#[async_trait]
impl Change for Revoke {
    /// `None` if there is no such key.
    type Outcome = Result<Option<KeyInfo>, KeyError>;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Self::Outcome, DbErr> {
        let keys = store::signing_keys(step.connection).await?;
        let Some(key) = keys.iter().find(|key| key.kid == self.kid) else { return Ok(Ok(None)) };
        if key.state == ACTIVE {
            let heir = keys.iter().find(|key| key.state == STANDBY).map(|key| key.kid.clone());
            let heir = match heir {
                Some(kid) => kid,
                None => match fresh(&self.seals, step.world(), step.now, step.now) {
                    Ok(fresh) => {
                        let kid = fresh.kid.clone();
                        store::add_signing_key(step.connection, fresh).await?;
                        record(step, audit::KEY_CREATED, &kid);
                        kid
                    }
                    Err(error) => return Ok(Err(error)),
                },
            };
            activate(step, &keys, &heir).await?;
        }
        if key.state != REVOKED {
            revoke(step, &self.kid).await?;
            step.announce();
        }
        let keys = store::signing_keys(step.connection).await?;
        Ok(Ok(keys.into_iter().find(|key| key.kid == self.kid).map(KeyInfo::from)))
    }
}

/// A private key sealed under a newer secret.
pub(super) struct Reseal {
    pub(super) kid: String,
    pub(super) sealed: String,
}

#[async_trait]
impl Change for Reseal {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        store::reseal_key(step.connection, &self.kid, &self.sealed).await
    }
}

/// The key before it retires first: only one may be active.
async fn activate(step: &mut Step<'_>, keys: &[signing_key::Model], kid: &str) -> Result<(), DbErr> {
    for before in keys.iter().filter(|key| key.state == ACTIVE) {
        store::advance_key(step.connection, &before.kid, KeyStep::Retire, step.now).await?;
        record(step, audit::KEY_RETIRED, &before.kid);
    }
    store::advance_key(step.connection, kid, KeyStep::Activate, step.now).await?;
    record(step, audit::KEY_ACTIVATED, kid);
    Ok(())
}

async fn revoke(step: &mut Step<'_>, kid: &str) -> Result<(), DbErr> {
    store::advance_key(step.connection, kid, KeyStep::Revoke, step.now).await?;
    record(step, audit::KEY_REVOKED, kid);
    Ok(())
}

/// The key's id stands where other rows name the one who acts.
fn record(step: &mut Step<'_>, action: &'static str, kid: &str) {
    step.record(&Origin::default(), Attempt { action, actor_id: kid, ..Attempt::default() }, "");
}

fn fresh(
    seals: &Seals,
    world: &World,
    now: Timestamp,
    activate_at: Timestamp,
) -> Result<signing_key::Model, KeyError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&world.bytes::<32>()).map_err(|_| KeyError::Generate)?;
    let private = pair.to_pkcs8().map_err(|_| KeyError::Generate)?;
    let public = pair.public_key().as_ref();
    let kid = hex::encode(&Sha256::digest(public)[..16]);
    Ok(signing_key::Model {
        sealed_private_key: seals.seal(world, &kid, private.as_ref())?,
        kid,
        state: STANDBY.to_owned(),
        public_key: URL_SAFE_NO_PAD.encode(public),
        created_at: now.unix_micros(),
        activate_at: activate_at.unix_micros(),
        retired_at: None,
        revoked_at: None,
    })
}
