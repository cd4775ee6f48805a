//! Who is calling: access tokens, the key set that verifies them, and service tokens.
//!
//! A user's call carries an access token (EdDSA JWT) that auth signed; every service verifies it by itself with
//! auth's public keys and can mint none. A service's call carries a service token: an HMAC over its name and an
//! expiry under a key that all services of one installation derive from the master secret.

mod access;
mod gatekeeper;
mod keys;
mod secret;
mod service;

pub use access::{ACCESS_AUDIENCE, ACCESS_TYPE, AccessClaims, ISSUER, Role, UserCaller};
pub use gatekeeper::{Gatekeeper, Origin};
pub use keys::{KeySource, PublicKey, RemoteKeys};
pub use secret::{MasterSecret, SecretError};
pub use service::ServiceIdentity;
