//! The parser of refresh tokens: takes anything, panics at nothing, and lets nothing pass that our key did not sign.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quire_identity::refresh;

/// Nobody has the private key of these bytes.
const KEY: [u8; 32] = [7; 32];

fuzz_target!(|token: &str| {
    if let Some(kid) = refresh::key_id(token) {
        assert!((1..=64).contains(&kid.len()) && kid.is_ascii());
    }
    assert!(refresh::verify(token, &KEY).is_none());
});
