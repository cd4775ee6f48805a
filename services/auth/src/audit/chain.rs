//! The hash chain: every row carries an HMAC over itself and the hash of the row before it, so that no row can be
//! changed, taken out or put in between without breaking what follows. Whoever can only write to the database
//! cannot make the hashes. Cutting off the newest rows leaves a shorter chain that is whole in itself: it is found
//! by comparing with a head that was noted elsewhere, such as in the log of the process.

use hmac::{Hmac, KeyInit, Mac};
use quire_identity::MasterSecret;
use sha2::Sha256;

use crate::store::audit_event;

/// The key of the chain, derived from the master secret.
#[derive(Clone)]
pub struct ChainKey([u8; 32]);

impl ChainKey {
    pub fn new(master: &MasterSecret) -> Self {
        Self(master.derive("auth audit chain"))
    }

    /// The hash of a row that follows one with the hash `before`, in hexadecimal.
    pub fn hash(&self, before: &str, row: &audit_event::Model) -> String {
        let audit_event::Model {
            id,
            at,
            action,
            outcome,
            reason,
            user_id,
            session_id,
            client_address,
            request_id,
            seq,
            actor_id,
            hash: _,
        } = row;
        // JSON keeps the fields apart whatever they contain.
        let whole = serde_json::json!([
            before,
            seq,
            at,
            id,
            action,
            outcome,
            reason,
            user_id,
            session_id,
            client_address,
            request_id,
            actor_id
        ]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(whole.to_string().as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}
