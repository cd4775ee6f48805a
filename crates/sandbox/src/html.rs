//! The frame of the pages that buyers see: no scripts, nothing from elsewhere.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use quire_clock::World;
use url::Url;

const STYLE: &str = include_str!("page.css");

/// What a visit ends with.
pub(crate) enum Outcome {
    Page(Page),
    Redirect(String),
}

/// One page. Its texts are markup: what others wrote is escaped before.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) notice: Option<&'static str>,
    pub(crate) main: String,
    /// Where the form may lead: browsers apply the policy for forms to the redirect that follows, too.
    pub(crate) form_target: String,
}

/// The response that a browser gets.
pub(crate) fn respond(world: &World, outcome: Outcome) -> Response {
    match outcome {
        Outcome::Redirect(url) => match HeaderValue::try_from(url) {
            Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The shop's address is not valid.").into_response(),
        },
        Outcome::Page(page) => page.respond(&hex::encode(world.bytes::<16>())),
    }
}

/// The response when the change could not be written.
pub(crate) fn not_saved() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "The payment could not be saved. Try again.").into_response()
}

/// Where the redirect after a form may lead: the site of this address.
pub(crate) fn site(url: &str) -> String {
    Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

impl Page {
    fn respond(&self, nonce: &str) -> Response {
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self' {}; base-uri 'none'; \
             frame-ancestors 'none'",
            self.form_target
        );
        let mut response = (self.status, Html(self.html(nonce))).into_response();
        let headers = response.headers_mut();
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn html(&self, nonce: &str) -> String {
        let notice = self.notice.map(|text| format!("<p class=\"notice\" role=\"status\">{text}</p>"));
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title} – test payment</title><style nonce=\"{nonce}\">{STYLE}</style></head>\
             <body><main><h1>{title}</h1><p class=\"test\">This is a test payment. No money moves.</p>\
             {notice}{main}</main></body></html>",
            title = self.title,
            notice = notice.unwrap_or_default(),
            main = self.main,
        )
    }
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_texts_is_escaped() {
        assert_eq!(escape(r#"<a href="x">'&'"#), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
    }
}
