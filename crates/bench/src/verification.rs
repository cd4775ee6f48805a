//! How long the check of an access token takes: by its signature, and remembered.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quire_clock::World;
use quire_fault::Fault;
use quire_identity::{Gatekeeper, KeySource, MasterSecret, PublicKey, access};
use secrecy::SecretString;

/// Enough for a steady figure.
const TIME: Duration = Duration::from_secs(1);

struct OneKey(PublicKey);

#[tonic::async_trait]
impl KeySource for OneKey {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        Ok(vec![self.0.clone()])
    }
}

/// Nanoseconds for one token: by the signature, and remembered.
///
/// # Errors
/// The key does not verify the token.
pub(crate) async fn measure(token: &str, key: PublicKey) -> anyhow::Result<(f64, f64)> {
    let signature = {
        ensure!(access::verify(token, &key.bytes).is_some(), "the key does not verify the token");
        each(|| drop(black_box(access::verify(black_box(token), &key.bytes))))
    };
    let master = MasterSecret::new(SecretString::from("-".repeat(32)))?;
    let gatekeeper = Gatekeeper::new(World::system(), Arc::new(OneKey(key)), &master);
    gatekeeper.user_of_token(token).await.ok().context("the token is refused")?;
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < TIME {
        for _ in 0..100 {
            black_box(gatekeeper.user_of_token(black_box(token)).await.is_ok());
        }
        count += 100;
    }
    Ok((signature, nanos(started.elapsed(), count)))
}

fn each(mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < TIME {
        for _ in 0..100 {
            work();
        }
        count += 100;
    }
    nanos(started.elapsed(), count)
}

fn nanos(elapsed: Duration, count: u32) -> f64 {
    elapsed.as_secs_f64() * 1e9 / f64::from(count)
}
