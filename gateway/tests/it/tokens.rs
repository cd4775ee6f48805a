//! Tokens signed with a key that the fake auth lists.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::Message;
use quire_clock::World;
use quire_identity::{ACCESS, AccessClaims, ISSUER, REFRESH, RefreshClaims, Role, TokenKind};
use quire_proto::auth::v1 as pb;
use serde::Serialize;

use crate::upstream::Answers;

pub const KEY_ID: &str = "test-key";
/// The first test key of RFC 8032, section 7.1: the secret one, and the public one as base64url.
const SECRET: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
pub const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// The same for every Ed25519 key in PKCS #8.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The answers of an auth that knows the key, and for which every session is good.
pub fn auth() -> Answers {
    let key = pb::SigningKey {
        kid: KEY_ID.to_owned(),
        public_key: URL_SAFE_NO_PAD.decode(PUBLIC).unwrap(),
        state: pb::SigningKeyState::Active.into(),
    };
    Answers::from([
        ("ListSigningKeys", pb::ListSigningKeysResponse { keys: vec![key] }.encode_to_vec()),
        ("CheckSession", pb::CheckSessionResponse {}.encode_to_vec()),
    ])
}

pub fn access(user_id: &str, role: Role) -> String {
    let now = World::system().now().unix_seconds();
    let claims = AccessClaims {
        iss: ISSUER.to_owned(),
        aud: ACCESS.audience.to_owned(),
        sub: user_id.to_owned(),
        sid: format!("session of {user_id}"),
        generation: 1,
        jti: "1".to_owned(),
        iat: now,
        nbf: None,
        exp: now + 600,
        role,
    };
    signed(&claims, ACCESS)
}

pub fn refresh(session_id: &str) -> String {
    let now = World::system().now().unix_seconds();
    let claims = RefreshClaims {
        iss: ISSUER.to_owned(),
        aud: REFRESH.audience.to_owned(),
        sub: "ada".to_owned(),
        sid: session_id.to_owned(),
        generation: 1,
        iat: now,
        exp: now + 600,
    };
    signed(&claims, REFRESH)
}

fn signed(claims: &impl Serialize, kind: TokenKind) -> String {
    let header = Header {
        typ: Some(kind.kind.to_owned()),
        kid: Some(KEY_ID.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let key = [PKCS8.as_slice(), &URL_SAFE_NO_PAD.decode(SECRET).unwrap()].concat();
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&key)).unwrap()
}
