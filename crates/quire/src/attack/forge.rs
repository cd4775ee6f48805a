//! Tokens that a deployment must not take: genuine ones taken apart and put together again.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::report::{Verdict, untried, wrong};

/// What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Stands in the claims for a number that no JSON library would write.
const PLACEHOLDER: &str = "\"@number@\"";

/// A genuine token and a key of our own. Has no `Debug`.
pub(crate) struct Forger {
    key: Ed25519KeyPair,
    pub(crate) genuine: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signature: String,
}

impl Forger {
    /// # Errors
    /// The token is not a JWT, so there is nothing to forge after.
    pub(crate) fn new(genuine: &str) -> Verdict<Self> {
        let segments: Vec<&str> = genuine.split('.').collect();
        let [header, claims, signature] = segments[..] else {
            return Err(wrong("the genuine access token is not a JWT"));
        };
        let object = |segment: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
        };
        let (Some(header), Some(claims)) = (object(header), object(claims)) else {
            return Err(wrong("the genuine access token is not a JWT"));
        };
        let key = Ed25519KeyPair::generate().map_err(|_| untried("no key can be made on this machine"))?;
        Ok(Self { key, genuine: genuine.to_owned(), header, claims, signature: signature.to_owned() })
    }

    pub(crate) fn user_id(&self) -> &str {
        self.claims.get("sub").and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn key_id(&self) -> &str {
        self.header.get("kid").and_then(Value::as_str).unwrap_or_default()
    }

    /// The genuine header with a change.
    pub(crate) fn header(&self, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut header = self.header.clone();
        change(&mut header);
        Value::Object(header).to_string()
    }

    /// The genuine claims with a change.
    pub(crate) fn claims(&self, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut claims = self.claims.clone();
        change(&mut claims);
        Value::Object(claims).to_string()
    }

    /// The genuine claims with one of them as a number written out, however large.
    pub(crate) fn claims_with_number(&self, name: &str, digits: &str) -> String {
        let claims = self.claims(|claims| {
            claims.insert(name.to_owned(), json!(PLACEHOLDER.trim_matches('"')));
        });
        claims.replace(PLACEHOLDER, digits)
    }

    /// Without any signature.
    pub(crate) fn unsigned(&self, header: &str, claims: &str) -> String {
        format!("{}.", signing_input(header, claims))
    }

    /// With the signature of the genuine token.
    pub(crate) fn kept(&self, header: &str, claims: &str) -> String {
        format!("{}.{}", signing_input(header, claims), self.signature)
    }

    /// With a signature that is right, by a key that the deployment does not know.
    pub(crate) fn own(&self, header: &str, claims: &str) -> String {
        let input = signing_input(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// Signed by our own key, and with the genuine signature kept: whoever checks no signature takes both, whoever
    /// checks against the wrong key takes one.
    pub(crate) fn both(&self, header: &str, claims: &str) -> Vec<String> {
        vec![self.own(header, claims), self.kept(header, claims)]
    }

    /// With an HMAC under a secret that everybody knows.
    pub(crate) fn mac(&self, header: &str, claims: &str, secret: &[u8]) -> String {
        let input = signing_input(header, claims);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Our own key as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "attack", "use": "sig", "alg": "EdDSA" })
    }

    /// Whether a public key has signed the genuine token.
    pub(crate) fn is_signed_by(&self, public: &[u8]) -> bool {
        let Some((input, _)) = self.genuine.rsplit_once('.') else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(&self.signature) else { return false };
        UnparsedPublicKey::new(&ED25519, public).verify(input.as_bytes(), &signature).is_ok()
    }
}

/// Every form in which somebody may have handed a public key to a library that takes it for a secret.
pub(crate) fn forms_of(jwk: &Value, public: &[u8]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let der = [&SPKI_PREFIX[..], public].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(&der));
    let text = |name: &str| jwk[name].as_str().unwrap_or_default();
    // In alphabetical order, and in that of the RFC.
    let ordered = format!(
        r#"{{"kty":"{}","crv":"{}","x":"{}","kid":"{}","use":"{}","alg":"{}"}}"#,
        text("kty"),
        text("crv"),
        text("x"),
        text("kid"),
        text("use"),
        text("alg"),
    );
    vec![
        ("as 32 bytes", vec![public.to_vec(), text("x").as_bytes().to_vec()]),
        ("as DER", vec![der]),
        ("as PEM", vec![pem.clone().into_bytes(), format!("{pem}\n").into_bytes()]),
        ("as JWK", vec![jwk.to_string().into_bytes(), ordered.into_bytes()]),
    ]
}

fn signing_input(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// The token with one character changed into another one of base64url. The change is in the lowest bit, where a
/// lenient decoder would overlook it at the end of a segment.
pub(crate) fn flipped(token: &str, position: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = token.as_bytes().to_vec();
    if let Some(byte) = bytes.get_mut(position) {
        let value = ALPHABET.iter().position(|known| known == byte);
        *byte = value.map_or(b'A', |value| ALPHABET[value ^ 1]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forger() -> Forger {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1,"sub":"u"}"#);
        Forger::new(&format!("{header}.{claims}.AAAA")).unwrap_or_else(|_| panic!("it is a JWT"))
    }

    fn claims_of(token: &str) -> String {
        let claims = token.split('.').nth(1).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    #[test]
    fn claims_are_changed_and_the_rest_is_kept() {
        let forger = forger();
        let header = forger.header(|_| {});
        let kept = forger.kept(&header, &forger.claims_with_number("exp", "1e400"));
        assert_eq!(claims_of(&kept), r#"{"exp":1e400,"sub":"u"}"#);
        assert!(kept.ends_with(".AAAA"));
        assert_eq!(kept.split('.').next(), forger.genuine.split('.').next());
        assert_eq!((forger.user_id(), forger.key_id()), ("u", "k"));
    }

    #[test]
    fn our_own_signature_is_right_for_our_own_key_only() {
        let forger = forger();
        let signed = forger.own(&forger.header(|_| {}), &forger.claims(|_| {}));
        let again = Forger::new(&signed).unwrap_or_else(|_| panic!("it is a JWT"));
        assert!(again.is_signed_by(forger.key.public_key().as_ref()));
        assert!(!again.is_signed_by(again.key.public_key().as_ref()));
    }

    #[test]
    fn a_public_key_has_its_known_der_and_pem() {
        // RFC 8410 section 10.1.
        let public = STANDARD.decode("GfbxvPb7vdzPtqSYfVB/2rMbeXeuiEEDoyZiArgR+oo=").unwrap();
        let forms = forms_of(&json!({}), &public);
        let pem = String::from_utf8(forms[2].1[0].clone()).unwrap();
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"), "{pem}");
    }

    #[test]
    fn every_position_can_be_changed() {
        for position in 0..6 {
            assert_ne!(flipped("AZaz.-", position), "AZaz.-");
        }
    }
}
