//! Access tokens, signed as auth signs them.

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use quire_clock::World;
use quire_fault::Fault;
use quire_identity::{ACCESS, AccessClaims, ISSUER, KeySource, PublicKey, Role};
use tonic::Request;

pub const KID: &str = "test";
/// The session of every token, unless a test names another.
pub const SESSION: &str = "session";

/// Auth's signing key.
pub struct Keys {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl Keys {
    pub fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self::from_pkcs8(pair.to_pkcs8().unwrap().as_ref().to_vec())
    }

    /// The same key in another process.
    pub fn from_pkcs8(pkcs8: Vec<u8>) -> Self {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
        Self { pkcs8, public: pair.public_key().as_ref().to_vec() }
    }

    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub fn public(&self) -> PublicKey {
        PublicKey { kid: KID.to_owned(), bytes: self.public.clone() }
    }

    /// A call of a user whose token was signed just now, as the world has it.
    pub fn authorize<T>(&self, world: &World, user: &str, role: Role, message: T) -> Request<T> {
        let token = self.token(KID, &claims(world, user, role));
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }

    /// A token that names the key `kid`.
    pub fn token(&self, kid: &str, claims: &AccessClaims) -> String {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some(kid.to_owned());
        header.typ = Some(ACCESS.kind.to_owned());
        let key = jsonwebtoken::EncodingKey::from_ed_der(&self.pkcs8);
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// The claims of a token of [`SESSION`]'s first generation.
pub fn claims(world: &World, user: &str, role: Role) -> AccessClaims {
    let now = world.now().unix_seconds();
    AccessClaims {
        iss: ISSUER.to_owned(),
        aud: ACCESS.audience.to_owned(),
        sub: user.to_owned(),
        sid: SESSION.to_owned(),
        generation: 1,
        jti: "token".to_owned(),
        iat: now,
        nbf: None,
        exp: now + 600,
        role,
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        Ok(vec![self.public()])
    }
}
