//! The normaliser of e-mail addresses: what it takes is one line, has one @, and is already normal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quire_auth::Email;

fuzz_target!(|text: &str| {
    let Ok(email) = Email::parse(text) else { return };
    let normal = email.as_str();
    assert!(normal.len() <= 254 && normal.matches('@').count() == 1);
    assert!(!normal.chars().any(|character| character.is_control() || character.is_whitespace()));
    let again = Email::parse(normal).expect("a normal address is an address");
    assert_eq!(again.as_str(), normal, "it has one form only");
});
