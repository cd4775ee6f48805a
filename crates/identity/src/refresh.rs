//! Refresh tokens: their claims, and the one way to verify them. Only auth can tell whether one is still good.

use serde::{Deserialize, Serialize};

use crate::token::{self, TokenKind};

/// Refresh tokens.
pub const REFRESH: TokenKind = TokenKind { kind: "rt+jwt", audience: "quire-refresh" };

/// The claims of a refresh token: a function of its session's row, without a random part or a time of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClaims {
    pub iss: String,
    pub aud: String,
    /// User id.
    pub sub: String,
    /// Session id.
    pub sid: String,
    /// The session's generation.
    #[serde(rename = "gen")]
    pub generation: i64,
    /// Seconds since the Unix epoch.
    pub iat: i64,
    /// Seconds since the Unix epoch.
    pub exp: i64,
}

/// The `kid` of a refresh token whose header passes every rule.
pub fn key_id(token: &str) -> Option<String> {
    token::key_id(token, REFRESH)
}

/// The claims of a token that was signed with `key`. Its expiry is not judged: the session's row knows better, and
/// an old token of a live session must be recognised as reused.
pub fn verify(token: &str, key: &[u8]) -> Option<RefreshClaims> {
    token::claims(token, key, REFRESH)
}
