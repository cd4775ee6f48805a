//! The cookie that binds a sign-in link to the browser that asked for it.
//!
//! It holds the verifier that belongs to the mailed link and code. Pages need not keep it themselves, scripts cannot
//! read it, and no other browser has it.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

const NAME: &str = "quire_sign_in";
/// 256 bits as base64url.
const VERIFIER_LENGTH: usize = 43;

/// The verifier that the browser holds. Anything else under that name is as good as no cookie.
pub(crate) fn verifier(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, value)| *name == NAME && is_verifier(value));
    found.next().map(|(_, value)| value.to_owned())
}

fn is_verifier(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == VERIFIER_LENGTH && text.bytes().all(plain)
}

/// `Set-Cookie` that keeps the verifier for as long as the link works.
pub(crate) fn keep(verifier: &str, seconds: i32, https: bool) -> HeaderValue {
    // Never anything but a verifier: other characters could add attributes of their own.
    let verifier = if is_verifier(verifier) { verifier } else { "" };
    set(verifier, seconds, https)
}

/// `Set-Cookie` that forgets it.
pub(crate) fn forget(https: bool) -> HeaderValue {
    set("", 0, https)
}

fn set(value: &str, seconds: i32, https: bool) -> HeaderValue {
    let secure = if https { "; Secure" } else { "" };
    let text =
        format!("{NAME}={value}; HttpOnly; SameSite=Lax; Path=/api/v1/auth; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(cookies: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in cookies {
            headers.append(COOKIE, HeaderValue::from_str(value).unwrap());
        }
        verifier(&headers)
    }

    #[test]
    fn a_verifier_is_found_among_other_cookies_and_nothing_else_passes_for_one() {
        let good = "a-_Z".repeat(10) + "xyz";
        assert_eq!(seen(&[&format!("quire_sign_in={good}")]), Some(good.clone()));
        assert_eq!(seen(&["a=b", &format!("c=d;quire_sign_in={good}; e")]), Some(good.clone()));
        assert_eq!(seen(&[&format!("quire_sign_in=short; quire_sign_in={good}")]), Some(good.clone()));
        assert_eq!(seen(&[&format!("xquire_sign_in={good}")]), None);
        assert_eq!(seen(&[&format!("quire_sign_in={good}a")]), None);
        assert_eq!(seen(&[&format!("quire_sign_in=\"{}\"", &good[2..])]), None);
        assert_eq!(seen(&[]), None);
    }

    #[test]
    fn what_is_no_verifier_cannot_write_attributes() {
        let value = keep("x; Domain=evil.example", 600, true);
        assert_eq!(value, "quire_sign_in=; HttpOnly; SameSite=Lax; Path=/api/v1/auth; Max-Age=600; Secure");
    }
}
