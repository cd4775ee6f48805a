//! Making access and refresh tokens: EdDSA JWTs of different types and audiences, so that neither passes for the
//! other.
//!
//! A refresh token is a function of its session's row: no random part, no time of its own. Two tabs that race
//! to refresh therefore get the same successor byte for byte (Ed25519 signatures are deterministic), also when the
//! signing key was rotated in between: the row says which key signed.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header};
use quire_clock::{Timestamp, World};
use quire_identity::{ACCESS, AccessClaims, ISSUER, REFRESH, RefreshClaims, Role, TokenKind, refresh};
use serde::Serialize;

use crate::error::AuthError;
use crate::keys::{Keyring, Keys};
use crate::store::session;

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

impl Tokens {
    pub fn new(keyring: Keyring, world: World, access_lifetime: Duration) -> Self {
        Self { keyring, world, access_lifetime }
    }

    /// The id of the key that signs now.
    ///
    /// # Errors
    /// The keys cannot be loaded.
    pub async fn signing_kid(&self) -> Result<String, AuthError> {
        Ok(self.keyring.get().await?.active.clone())
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
            aud: ACCESS.audience.to_owned(),
            sub: session.user_id.clone(),
            sid: session.id.clone(),
            generation: session.generation,
            jti: self.world.id(),
            iat: now.unix_seconds(),
            nbf: None,
            exp: access_expires,
            role,
        };
        let refresh = RefreshClaims {
            iss: ISSUER.to_owned(),
            aud: REFRESH.audience.to_owned(),
            sub: session.user_id.clone(),
            sid: session.id.clone(),
            generation: session.generation,
            iat: Timestamp::from_unix_micros(session.rotated_at).unix_seconds(),
            exp: refresh_expires,
        };
        let keys = self.keyring.get().await?;
        Ok(TokenPair {
            access: sign(&keys, &keys.active, ACCESS, &access)?,
            refresh: sign(&keys, &session.signing_kid, REFRESH, &refresh)?,
            access_expires_at: Timestamp::from_unix_seconds(access_expires),
            refresh_expires_at: Timestamp::from_unix_seconds(refresh_expires),
        })
    }

    /// Reads a refresh token. `None` if it is not genuine; whether it is still good, the session's row decides.
    ///
    /// # Errors
    /// The keys cannot be loaded.
    pub async fn read_refresh(&self, token: &str) -> Result<Option<RefreshClaims>, AuthError> {
        let keys = self.keyring.get().await?;
        let key = refresh::key_id(token).and_then(|kid| keys.public.get(&kid));
        Ok(key.and_then(|(_, key)| refresh::verify(token, key)))
    }
}

fn sign(keys: &Keys, kid: &str, kind: TokenKind, claims: &impl Serialize) -> Result<String, AuthError> {
    let (kid, key) = keys.signer(kid).ok_or(AuthError::Keys(crate::keys::KeyError::Damaged))?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(kind.kind.to_owned());
    header.kid = Some(kid.to_owned());
    Ok(jsonwebtoken::encode(&header, claims, key)?)
}
