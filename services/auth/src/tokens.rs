//! Access and refresh tokens: EdDSA JWTs of different types and audiences, so that neither passes for the other.
//!
//! A refresh token is a function of its session's row: no random part, no time of its own. Two tabs that race
//! to refresh therefore get the same successor byte for byte (Ed25519 signatures are deterministic).

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use quire_clock::{Timestamp, World};
use quire_identity::{ACCESS_AUDIENCE, ACCESS_TYPE, AccessClaims, ISSUER, Role};
use serde::{Deserialize, Serialize};

use crate::error::AuthError;
use crate::keys::Keyring;
use crate::store::session;

/// `aud` of refresh tokens.
const REFRESH_AUDIENCE: &str = "quire-refresh";
/// `typ` of refresh tokens.
const REFRESH_TYPE: &str = "rt+jwt";
/// Longer tokens are refused before any parsing.
const MAX_TOKEN_BYTES: usize = 4096;

/// Mints and reads tokens.
#[derive(Clone)]
pub struct Tokens {
    keyring: Keyring,
    world: World,
    access_lifetime: Duration,
}

/// What a sign-in or a refresh yields. Has no `Debug`: it holds tokens.
pub struct TokenPair {
    pub access: String,
    pub refresh: String,
    pub access_expires_at: Timestamp,
    pub refresh_expires_at: Timestamp,
}

/// A refresh token that is genuine; whether it is still good, the session's row decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub session_id: String,
    pub user_id: String,
    pub generation: i64,
}

#[derive(Serialize, Deserialize)]
struct RefreshClaims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    /// The session's generation.
    #[serde(rename = "gen")]
    generation: i64,
    iat: i64,
    exp: i64,
}

impl Tokens {
    pub fn new(keyring: Keyring, world: World, access_lifetime: Duration) -> Self {
        Self { keyring, world, access_lifetime }
    }

    /// The tokens of a session's present generation. The access token never outlives the session.
    ///
    /// # Errors
    /// The signing key cannot be used.
    pub async fn mint(&self, session: &session::Model, role: Role) -> Result<TokenPair, AuthError> {
        let now = self.world.now();
        let end = Timestamp::from_unix_micros(session.absolute_expires_at);
        let access_expires = now.plus(self.access_lifetime).min(end).unix_seconds();
        let refresh_expires = session.expires_at().unix_seconds();
        let access = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: ACCESS_AUDIENCE.to_owned(),
            sub: session.user_id.clone(),
            sid: session.id.clone(),
            jti: self.world.id(),
            iat: now.unix_seconds(),
            exp: access_expires,
            role,
        };
        let refresh = RefreshClaims {
            iss: ISSUER.to_owned(),
            aud: REFRESH_AUDIENCE.to_owned(),
            sub: session.user_id.clone(),
            sid: session.id.clone(),
            generation: session.generation,
            iat: Timestamp::from_unix_micros(session.rotated_at).unix_seconds(),
            exp: refresh_expires,
        };
        Ok(TokenPair {
            access: self.sign(ACCESS_TYPE, &access).await?,
            refresh: self.sign(REFRESH_TYPE, &refresh).await?,
            access_expires_at: Timestamp::from_unix_seconds(access_expires),
            refresh_expires_at: Timestamp::from_unix_seconds(refresh_expires),
        })
    }

    /// Reads a refresh token. `None` if it is not genuine. Its expiry is not judged here: the session's row
    /// knows better, and an old token of a live session must be recognised as reused.
    ///
    /// # Errors
    /// The keys cannot be loaded.
    pub async fn read_refresh(&self, token: &str) -> Result<Option<Presented>, AuthError> {
        let keys = self.keyring.get().await?;
        Ok(key_id(token).and_then(|kid| keys.public.get(&kid)).and_then(|key| verify(token, key)))
    }

    async fn sign(&self, kind: &str, claims: &impl Serialize) -> Result<String, AuthError> {
        let keys = self.keyring.get().await?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(kind.to_owned());
        header.kid = Some(keys.kid.clone());
        Ok(jsonwebtoken::encode(&header, claims, &keys.signing)?)
    }
}

/// The `kid` of a token whose header is one of ours (RFC 8725 sections 3.1, 3.10 and 3.11).
fn key_id(token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    let foreign =
        header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.crit.is_some();
    let ours = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(REFRESH_TYPE) && !foreign;
    header.kid.filter(|_| ours)
}

fn verify(token: &str, key: &[u8]) -> Option<Presented> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[REFRESH_AUDIENCE]);
    validation.validate_exp = false;
    let key = DecodingKey::from_ed_der(key);
    let claims = jsonwebtoken::decode::<RefreshClaims>(token, &key, &validation).ok()?.claims;
    Some(Presented { session_id: claims.sid, user_id: claims.sub, generation: claims.generation })
}
