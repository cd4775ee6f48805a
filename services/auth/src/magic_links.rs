//! Sign-in by a mailed link, or the code in the same mail. Either works once.
//!
//! Asking for a link does the same work and gets the same answer whether the address is known or not; the account
//! is made when the link is used. The link is bound to the device that asked by a verifier, which is in the answer
//! and not in the mail: a scanner that opens the mail has one half, somebody who asks in another's name the other.
//! The code is for a mail that is read on another device: it is typed on the one that asked.

mod code;
mod request;
mod verify;

use std::time::Duration;

use quire_clock::World;
use quire_identity::Role;
use quire_limit::{Keys, Limiter, RouteLimit};
use sha2::{Digest, Sha256};

use crate::change::Writer;
use crate::email::Email;
use crate::mail::Post;
use crate::metrics::AuthMetrics;
use crate::sessions::Sessions;
use crate::store::user;
use crate::tokens::TokenPair;

pub use code::CodeKey;
pub use verify::Proof;

pub struct MagicLinks {
    pub world: World,
    pub writer: Writer,
    pub sessions: Sessions,
    pub post: Post,
    pub limiter: Limiter,
    /// Per address, whether or not there is an account, and for all addresses together.
    pub limit: RouteLimit,
    pub lifetime: Duration,
    pub codes: CodeKey,
    /// The page that reads the token out of the fragment.
    pub sign_in_url: String,
    pub metrics: AuthMetrics,
}

/// A link on its way.
pub struct Requested {
    pub lifetime: Duration,
    pub verifier: String,
}

/// A user who has just signed in.
pub struct SignedIn {
    pub user: user::Model,
    pub role: Role,
    pub tokens: TokenPair,
}

/// What mails to an address are counted under.
pub fn mail_keys(email: &Email) -> Keys {
    Keys::default().mailbox(email.as_str())
}

/// Tokens and verifiers have 256 random bits, so a plain hash is enough at rest.
fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
