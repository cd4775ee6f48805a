//! Statements on auth's tables. Changes run one after the other, because each locks the head of the audit log
//! first; the statements are conditional all the same, and say how many rows they met.

mod alerts;
mod audit;
mod entity;
mod keys;
mod links;
mod sessions;
mod users;

pub use alerts::*;
pub use audit::*;
pub use entity::{alert, audit_event, audit_head, magic_link, session, signing_key, user};
pub use keys::*;
pub use links::*;
pub use sessions::*;
pub use users::*;
