//! The gate that every JWT of Quire passes: one algorithm, one type, one audience, and a key of our own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// `iss` of every token.
pub const ISSUER: &str = "quire";
/// Longer tokens are refused before any parsing.
const MAX_TOKEN_BYTES: usize = 4096;
const MAX_KEY_ID: usize = 64;

/// What sets one kind of token apart from the other, so that neither passes for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenKind {
    /// The `typ` of its header.
    pub kind: &'static str,
    pub audience: &'static str,
}

/// The only header that is accepted: whatever else a token brings, such as `jku`, `jwk`, `x5u` or `crit`, makes it
/// somebody else's (RFC 8725 sections 3.1, 3.10 and 3.11).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// The `kid` of a token whose header passes every rule; nothing is verified yet. It is only ever looked up in a
/// map.
pub fn key_id(token: &str, kind: TokenKind) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return None;
    }
    let (header, _) = token.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let plain = header.kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let ours = header.alg == "EdDSA" && header.typ == kind.kind;
    (ours && plain && (1..=MAX_KEY_ID).contains(&header.kid.len())).then_some(header.kid)
}

/// The claims of a token that was signed with `key` for `kind`'s audience. Times are for the caller to judge, with
/// the clock that was passed in.
pub fn claims<C: DeserializeOwned + Clone>(token: &str, key: &[u8], kind: TokenKind) -> Option<C> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Otherwise jsonwebtoken checks a claim only if it is there.
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[kind.audience]);
    validation.validate_exp = false;
    jsonwebtoken::decode::<C>(token, &DecodingKey::from_ed_der(key), &validation)
        .ok()
        .map(|token| token.claims)
}
