//! Sign-in by magic link, sessions, signing keys and the audit log.
