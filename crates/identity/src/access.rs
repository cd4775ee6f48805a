//! Access tokens: their claims, and the one way to verify them.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use quire_clock::Timestamp;
use serde::{Deserialize, Serialize};

/// `iss` of every token.
pub const ISSUER: &str = "quire";
/// `aud` of access tokens. Refresh tokens have another, so that neither passes for the other.
pub const ACCESS_AUDIENCE: &str = "quire-api";
/// `typ` of access tokens (RFC 9068).
pub const ACCESS_TYPE: &str = "at+jwt";
/// How far clocks may differ.
const LEEWAY_SECONDS: i64 = 5;
/// Longer tokens are refused before any parsing.
const MAX_TOKEN_BYTES: usize = 4096;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

/// The claims of an access token. All are required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    pub aud: String,
    /// User id.
    pub sub: String,
    /// Session id.
    pub sid: String,
    pub jti: String,
    /// Seconds since the Unix epoch.
    pub iat: i64,
    /// Seconds since the Unix epoch.
    pub exp: i64,
    pub role: Role,
}

/// A user whose access token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    pub user_id: String,
    pub session_id: String,
    pub role: Role,
}

impl UserCaller {
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// The `kid` of a token whose header passes every rule; nothing is verified yet.
///
/// RFC 8725: the algorithm is pinned (3.1), the type is explicit (3.11), and headers that name a key
/// elsewhere are refused instead of followed (3.10).
pub(crate) fn key_id(token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    let foreign_key = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some();
    if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(ACCESS_TYPE) || foreign_key {
        return None;
    }
    let kid = header.kid?;
    let plain = kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (plain && (1..=64).contains(&kid.len())).then_some(kid)
}

/// The caller, if the token was signed with `key` and is valid at `now`.
pub(crate) fn verify(token: &str, key: &[u8], now: Timestamp) -> Option<UserCaller> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[ACCESS_AUDIENCE]);
    // Expiry is compared with the clock that was passed in, below.
    validation.validate_exp = false;
    let token =
        jsonwebtoken::decode::<AccessClaims>(token, &DecodingKey::from_ed_der(key), &validation).ok()?;
    let claims = token.claims;
    let seconds = now.unix_seconds();
    let in_time = claims.exp.saturating_add(LEEWAY_SECONDS) > seconds
        && claims.iat.saturating_sub(LEEWAY_SECONDS) <= seconds;
    in_time.then_some(UserCaller { user_id: claims.sub, session_id: claims.sid, role: claims.role })
}
