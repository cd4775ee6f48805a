//! Access tokens, signed as auth signs them.

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use quire_clock::World;
use quire_fault::Fault;
use quire_identity::{ACCESS_AUDIENCE, ACCESS_TYPE, AccessClaims, ISSUER, KeySource, PublicKey, Role};
use tonic::Request;

const KID: &str = "test";

/// Auth's signing key.
pub struct Keys {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl Keys {
    pub fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let pkcs8 = pair.to_pkcs8().unwrap().as_ref().to_vec();
        Self { pkcs8, public: pair.public_key().as_ref().to_vec() }
    }

    pub fn authorize<T>(&self, user: &str, role: Role, message: T) -> Request<T> {
        let now = World::system().now().unix_seconds();
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: ACCESS_AUDIENCE.to_owned(),
            sub: user.to_owned(),
            sid: "session".to_owned(),
            jti: "token".to_owned(),
            iat: now,
            exp: now + 600,
            role,
        };
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some(KID.to_owned());
        header.typ = Some(ACCESS_TYPE.to_owned());
        let key = jsonwebtoken::EncodingKey::from_ed_der(&self.pkcs8);
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        Ok(vec![PublicKey { kid: KID.to_owned(), bytes: self.public.clone() }])
    }
}
