//! The tables of auth.

pub mod alert;
pub mod audit_event;
pub mod audit_head;
pub mod magic_link;
pub mod session;
pub mod signing_key;
pub mod user;
