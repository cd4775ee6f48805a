//! Service tokens: how one service proves to another who it is.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use quire_clock::{Timestamp, World};
use sha2::Sha256;
use tonic::metadata::MetadataValue;

use crate::MasterSecret;

/// Metadata key of service tokens; apart from `authorization`, which carries the user's own token.
pub(crate) const SERVICE_TOKEN: &str = "x-quire-service-token";
/// Long enough for a slow call and skewed clocks, short enough that a leaked one is soon worthless.
const LIFETIME: Duration = Duration::from_secs(300);

/// What a service signs its calls with.
#[derive(Clone)]
pub struct ServiceIdentity {
    name: &'static str,
    world: World,
    key: [u8; 32],
}

impl ServiceIdentity {
    pub fn new(name: &'static str, world: World, master: &MasterSecret) -> Self {
        Self { name, world, key: service_key(master) }
    }

    /// Adds the service token to a call.
    pub fn authorize<T>(&self, request: &mut tonic::Request<T>) {
        let token = mint(self.name, self.world.now(), &self.key);
        let value = MetadataValue::try_from(token).expect("a service token is plain ASCII");
        request.metadata_mut().insert(SERVICE_TOKEN, value);
    }
}

pub(crate) fn service_key(master: &MasterSecret) -> [u8; 32] {
    master.derive("service tokens")
}

/// `name.expiry.hmac`, expiry in seconds since the Unix epoch.
fn mint(name: &str, now: Timestamp, key: &[u8; 32]) -> String {
    let signed = format!("{name}.{}", now.plus(LIFETIME).unix_seconds());
    let signature = hex::encode(mac(&signed, key).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// The name of the service, if the token is genuine and in time. Compares in constant time.
pub(crate) fn verify(token: &str, now: Timestamp, key: &[u8; 32]) -> Option<String> {
    let (signed, signature) = token.rsplit_once('.')?;
    mac(signed, key).verify_slice(&hex::decode(signature).ok()?).ok()?;
    let (name, expiry) = signed.split_once('.')?;
    (expiry.parse::<i64>().ok()? > now.unix_seconds()).then(|| name.to_owned())
}

fn mac(signed: &str, key: &[u8; 32]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_only_under_its_key() {
        let now = Timestamp::from_unix_seconds(1_000);
        let token = mint("payment", now, &[7; 32]);
        assert_eq!(verify(&token, now, &[7; 32]).as_deref(), Some("payment"));
        assert_eq!(verify(&token, now.plus(LIFETIME), &[7; 32]), None);
        assert_eq!(verify(&token, now, &[8; 32]), None);
        assert_eq!(verify(&token.replace("payment", "gateway"), now, &[7; 32]), None);
        assert_eq!(verify("", now, &[7; 32]), None);
    }
}
