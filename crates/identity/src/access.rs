//! Access tokens: their claims, and the one way to verify them.

use quire_clock::Timestamp;
use quire_fault::{Fault, Kind};
use serde::{Deserialize, Serialize};

use crate::token::{self, TokenKind};

/// Access tokens (RFC 9068).
pub const ACCESS: TokenKind = TokenKind { kind: "at+jwt", audience: "quire-api" };
/// How far clocks may differ.
pub const LEEWAY_SECONDS: i64 = 5;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

/// The claims of an access token. All but `nbf` are required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    pub aud: String,
    /// User id.
    pub sub: String,
    /// Session id.
    pub sid: String,
    /// The session's generation: seeing it in use proves that its refresh token arrived.
    #[serde(rename = "gen")]
    pub generation: i64,
    pub jti: String,
    /// Seconds since the Unix epoch.
    pub iat: i64,
    /// Seconds since the Unix epoch. Quire's own tokens have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Seconds since the Unix epoch.
    pub exp: i64,
    pub role: Role,
}

/// A user whose access token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    pub user_id: String,
    pub session_id: String,
    pub generation: i64,
    pub role: Role,
}

impl UserCaller {
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// # Errors
    /// `PERMISSION_DENIED` for everybody but operators.
    pub fn require_admin(&self) -> Result<(), Fault> {
        if self.is_admin() {
            return Ok(());
        }
        Err(Fault::new(Kind::Forbidden, "ADMIN_REQUIRED", "only an operator may do this"))
    }
}

/// A caller, and when the token's time begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub caller: UserCaller,
    not_before: i64,
    expires: i64,
}

impl Verified {
    /// Whether the token is in its time, give or take what clocks may differ.
    pub fn in_time(&self, now: Timestamp) -> bool {
        let now = now.unix_seconds();
        self.expires.saturating_add(LEEWAY_SECONDS) > now
            && self.not_before.saturating_sub(LEEWAY_SECONDS) <= now
    }
}

/// The `kid` of an access token whose header passes every rule.
pub fn key_id(token: &str) -> Option<String> {
    token::key_id(token, ACCESS)
}

/// Who a token belongs to, if it was signed with `key`. Its time is not judged yet.
pub fn verify(token: &str, key: &[u8]) -> Option<Verified> {
    let claims: AccessClaims = token::claims(token, key, ACCESS)?;
    Some(Verified {
        not_before: claims.nbf.map_or(claims.iat, |nbf| nbf.max(claims.iat)),
        expires: claims.exp,
        caller: UserCaller {
            user_id: claims.sub,
            session_id: claims.sid,
            generation: claims.generation,
            role: claims.role,
        },
    })
}
