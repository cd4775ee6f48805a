//! The gate of access tokens: takes anything, panics at nothing, and lets nothing pass that our key did not sign.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quire_identity::access;

/// Nobody has the private key of these bytes.
const KEY: [u8; 32] = [7; 32];

fuzz_target!(|token: &str| {
    if let Some(kid) = access::key_id(token) {
        assert!((1..=64).contains(&kid.len()) && kid.is_ascii());
        assert_eq!(token.split('.').count(), 3);
    }
    assert!(access::verify(token, &KEY).is_none());
});
