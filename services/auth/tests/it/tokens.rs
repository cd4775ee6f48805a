//! Tokens that are forged, swapped or broken.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quire_testkit::{Backend, on_both_databases};
use serde_json::{Value, json};

use crate::harness::{Auth, Place, reason, seconds};

on_both_databases!(
    no_forged_refresh_token_is_taken_and_none_ends_a_session,
    no_forged_access_token_is_taken,
    neither_token_passes_for_the_other,
    an_access_token_ends_after_fifteen_minutes,
);

/// Header and claims of a token.
fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

/// Tokens an attacker could make out of a genuine one and the public key.
fn forgeries(genuine: &str, public_key: &[u8]) -> Vec<(&'static str, String)> {
    let (header, claims) = parts(genuine);
    let signature = genuine.rsplit('.').next().unwrap();
    let typ = header["typ"].as_str().unwrap();
    let kid = header["kid"].as_str().unwrap();
    let mut forged = vec![("empty", String::new()), ("garbage", "garbage".to_owned())];
    for algorithm in ["none", "None", "nOnE"] {
        let header = json!({ "alg": algorithm, "typ": typ, "kid": kid });
        forged.push(("no algorithm", unsigned(&header, &claims, "")));
        forged.push(("no algorithm, signature kept", unsigned(&header, &claims, signature)));
    }
    let mut confused = Header::new(Algorithm::HS256);
    (confused.typ, confused.kid) = (Some(typ.to_owned()), Some(kid.to_owned()));
    let secret = EncodingKey::from_secret(public_key);
    forged.push(("public key as secret", jsonwebtoken::encode(&confused, &claims, &secret).unwrap()));
    let own = Ed25519KeyPair::generate().unwrap().to_pkcs8().unwrap();
    let own = EncodingKey::from_ed_der(own.as_ref());
    let mut foreign = Header::new(Algorithm::EdDSA);
    (foreign.typ, foreign.kid) = (Some(typ.to_owned()), Some(kid.to_owned()));
    forged.push(("another key", jsonwebtoken::encode(&foreign, &claims, &own).unwrap()));
    foreign.kid = Some("unknown".to_owned());
    forged.push(("unknown kid", jsonwebtoken::encode(&foreign, &claims, &own).unwrap()));
    foreign.kid = Some("../../etc/passwd".to_owned());
    forged.push(("kid that is a path", jsonwebtoken::encode(&foreign, &claims, &own).unwrap()));
    let mut renamed = header.clone();
    renamed["typ"] = json!("JWT");
    forged.push(("another type", unsigned(&renamed, &claims, signature)));
    let mut richer = claims.clone();
    richer["sub"] = json!("somebody else");
    forged.push(("another subject", unsigned(&header, &richer, signature)));
    for place in [5, genuine.len() / 2, genuine.len() - 10] {
        let mut bytes = genuine.as_bytes().to_vec();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        forged.push(("one byte changed", String::from_utf8(bytes).unwrap()));
    }
    forged.push(("four parts", format!("{genuine}.AAAA")));
    forged.push(("two parts", genuine.rsplit_once('.').unwrap().0.to_owned()));
    forged.push(("too long", format!("{genuine}{}", "A".repeat(5000))));
    forged
}

async fn no_forged_refresh_token_is_taken_and_none_ends_a_session(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let key = auth.keys().await.remove(0).public_key;
    for (what, token) in forgeries(&pair.refresh_token, &key) {
        assert_eq!(reason(auth.refresh(&token).await), "REFRESH_TOKEN_INVALID", "{what}");
    }
    assert!(auth.refresh(&pair.refresh_token).await.is_ok());
    auth.stop().await;
}

async fn no_forged_access_token_is_taken(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    let key = auth.keys().await.remove(0).public_key;
    for (what, token) in forgeries(&pair.access_token, &key) {
        let refused = auth.me(&token).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{what}");
    }
    assert!(auth.me(&pair.access_token).await.is_ok());
    auth.stop().await;
}

async fn neither_token_passes_for_the_other(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    assert_eq!(reason(auth.me(&pair.refresh_token).await), "TOKEN_INVALID");
    assert_eq!(reason(auth.refresh(&pair.access_token).await), "REFRESH_TOKEN_INVALID");
    let (access, claims) = parts(&pair.access_token);
    assert_eq!((&access["alg"], &access["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    assert_eq!(claims["aud"], "quire-api");
    let (refresh, claims) = parts(&pair.refresh_token);
    assert_eq!((&refresh["alg"], &refresh["typ"]), (&json!("EdDSA"), &json!("rt+jwt")));
    assert_eq!(claims["aud"], "quire-refresh");
    auth.stop().await;
}

async fn an_access_token_ends_after_fifteen_minutes(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start(&place).await;
    let pair = auth.sign_in("ada@example.org").await;
    place.clock.advance(seconds(899));
    assert!(auth.me(&pair.access_token).await.is_ok());
    // Five seconds more are allowed for clocks that differ.
    place.clock.advance(seconds(6));
    assert_eq!(reason(auth.me(&pair.access_token).await), "TOKEN_INVALID");
    assert!(auth.refresh(&pair.refresh_token).await.is_ok());
    auth.stop().await;
}
