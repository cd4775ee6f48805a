//! The tokens of the model deployment: minted, and let in as Quire does, but for the one hole that it has.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::model::Hole;

const KID: &str = "model-1";
/// The model knows no time: its tokens end at the end of time.
const FOREVER: i64 = 9_999_999_999;

pub struct Gate {
    key: Ed25519KeyPair,
    hole: Hole,
}

/// Why nobody is let in.
pub enum Refusal {
    Invalid,
    Broken,
}

impl Gate {
    pub fn new(hole: Hole) -> Self {
        Self { key: Ed25519KeyPair::generate().unwrap(), hole }
    }

    pub fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": KID, "use": "sig", "alg": "EdDSA" }] })
    }

    pub fn access(&self, user_id: &str, session_id: &str) -> String {
        self.mint("at+jwt", "quire-api", user_id, session_id)
    }

    pub fn refresh(&self, user_id: &str, session_id: &str) -> String {
        self.mint("rt+jwt", "quire-refresh", user_id, session_id)
    }

    fn mint(&self, kind: &str, audience: &str, user_id: &str, session_id: &str) -> String {
        let header = json!({ "alg": "EdDSA", "typ": kind, "kid": KID });
        let claims = json!({
            "iss": "quire", "aud": audience, "sub": user_id, "sid": session_id, "jti": session_id,
            "gen": 1, "role": "user", "iat": 1, "exp": FOREVER,
        });
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The user of a token of that type. `fetch` is what a careless server does with an address in a header.
    pub async fn user(&self, token: &str, kind: &str) -> Result<String, Refusal> {
        let segments: Vec<&str> = token.split('.').collect();
        let invalid = || Refusal::Invalid;
        let object = |segment: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
        };
        let ([header, claims] | [header, claims, _]) = segments[..] else { return Err(invalid()) };
        let signature = segments.get(2).copied().unwrap_or_default();
        if self.hole == Hole::BrokenTokenIs500 && object(header).is_none() {
            return Err(Refusal::Broken);
        }
        let head = object(header).ok_or_else(invalid)?;
        let claims_json = object(claims);
        let sub = |claims: &Option<Value>| {
            claims.as_ref().and_then(|claims| claims["sub"].as_str()).map(str::to_owned).ok_or_else(invalid)
        };
        if self.hole == Hole::FetchesKeys
            && let Some(url) = head["jku"].as_str()
        {
            let _ = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await;
        }
        let algorithm = head["alg"].as_str().unwrap_or_default();
        if self.hole == Hole::TakesAlgNone && algorithm.eq_ignore_ascii_case("none") {
            return sub(&claims_json);
        }
        let input = &token[..header.len() + 1 + claims.len()];
        if self.hole == Hole::PublicKeyIsSecret && algorithm == "HS256" {
            let public = self.key.public_key().as_ref();
            let mut mac = Hmac::<Sha256>::new_from_slice(public).unwrap();
            mac.update(input.as_bytes());
            let sent = URL_SAFE_NO_PAD.decode(signature).map_err(|_| invalid())?;
            return if mac.verify_slice(&sent).is_ok() { sub(&claims_json) } else { Err(invalid()) };
        }
        let known = ["alg", "typ", "kid"];
        let foreign =
            head.as_object().is_none_or(|head| head.keys().any(|key| !known.contains(&key.as_str())));
        let trusts_jwk = self.hole == Hole::TrustsJwk && head.get("jwk").is_some();
        let typed = head["typ"] == kind || self.hole == Hole::IgnoresType;
        if algorithm != "EdDSA" || !typed || (foreign && !trusts_jwk) || segments.len() != 3 {
            return Err(invalid());
        }
        let key = if trusts_jwk {
            URL_SAFE_NO_PAD.decode(head["jwk"]["x"].as_str().unwrap_or_default()).map_err(|_| invalid())?
        } else if head["kid"] == KID {
            self.key.public_key().as_ref().to_vec()
        } else if self.hole == Hole::UnknownKeyIs500 {
            return Err(Refusal::Broken);
        } else {
            return Err(invalid());
        };
        let signature = self.signature(signature).ok_or_else(invalid)?;
        let genuine = UnparsedPublicKey::new(&ED25519, key).verify(input.as_bytes(), &signature).is_ok();
        if !genuine && self.hole != Hole::ChecksNoSignature {
            return Err(invalid());
        }
        sub(&claims_json)
    }

    fn signature(&self, text: &str) -> Option<Vec<u8>> {
        if self.hole != Hole::LenientBase64 {
            return URL_SAFE_NO_PAD.decode(text).ok();
        }
        let config = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent);
        GeneralPurpose::new(&URL_SAFE, config).decode(text).ok()
    }
}
