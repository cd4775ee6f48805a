//! Who is calling: tokens, the key set that verifies them, what has been revoked, and service tokens.
//!
//! A user's call carries an access token (EdDSA JWT) that auth signed; every service verifies it by itself with
//! auth's public keys and can mint none. A [`Gatekeeper`] follows auth's stream of revocations, so that a logout
//! or a block counts everywhere within a second and no call has to ask auth; when the stream is stale, each call
//! does. A service's call carries a service token: an HMAC over its name and an expiry under a key that all
//! services of one installation derive from the master secret.

pub mod access;
mod authority;
mod gatekeeper;
mod keys;
pub mod refresh;
mod secret;
mod service;
mod standing;
mod token;
mod verified;

pub use access::{ACCESS, AccessClaims, Role, UserCaller};
pub use gatekeeper::{GATEWAY, Gatekeeper, Origin};
pub use keys::{KeySource, Keys, PublicKey};
pub use refresh::{REFRESH, RefreshClaims};
pub use secret::{MasterSecret, SecretError};
pub use service::ServiceIdentity;
pub use standing::{session_ended, user_blocked};
pub use token::{ISSUER, TokenKind};
