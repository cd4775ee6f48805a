//! The `Stripe-Signature` header: when an event was sent, and a proof that the holder of the secret sent it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header value for one secret: `t=<seconds>,v1=<hex>`, where `v1` is HMAC-SHA-256 over `<seconds>.<body>`.
///
/// Source: Stripe's "Verify webhook signatures manually".
pub fn sign(secret: &str, timestamp_seconds: i64, body: &[u8]) -> String {
    sign_with_all(std::slice::from_ref(&secret), timestamp_seconds, body)
}

/// The header value with one `v1` for each secret, as Stripe sends while a secret is being rotated.
pub fn sign_with_all(secrets: &[impl AsRef<str>], timestamp_seconds: i64, body: &[u8]) -> String {
    let mut header = format!("t={timestamp_seconds}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&digest(secret.as_ref(), timestamp_seconds, body));
    }
    header
}

fn digest(secret: &str, timestamp_seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_equals_a_vector_made_with_another_implementation() {
        // python3: hmac.new(b"whsec_test", b'1700000000.{"id":"evt_1"}', "sha256").hexdigest()
        assert_eq!(
            sign("whsec_test", 1_700_000_000, br#"{"id":"evt_1"}"#),
            "t=1700000000,v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925"
        );
    }

    #[test]
    fn each_secret_adds_a_signature() {
        let one = sign("a", 7, b"x");
        let two = sign("b", 7, b"x");
        let both = sign_with_all(&["a", "b"], 7, b"x");
        assert_eq!(both, format!("{one},{}", two.trim_start_matches("t=7,")));
    }
}
