//! Servers with one answer for everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::gate::Gate;
use super::model::Hole;

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Puppet {
    /// 200, and whatever anybody may want to read.
    Yes,
    /// The same, but it mails links and answers 202 to those who ask for one, so that an attack gets further.
    YesWithMail,
    Unauthorized,
    Broken,
}

/// Where it is, and tokens that it would give.
pub struct Started {
    pub url: String,
    pub access: String,
    pub refresh: String,
}

pub async fn start(puppet: Puppet, mail: PathBuf) -> Started {
    let gate = Gate::new(Hole::None);
    let (access, refresh) = (gate.access("user-1", "session-1"), gate.refresh("user-1", "session-1"));
    let yes = json!({
        "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": 900,
        "refresh_expires_in": 900, "id": "user-1", "email": "attack@example.org", "role": "user",
        "user": { "id": "user-1", "email": "attack@example.org", "role": "user" }, "detail": "fine",
        "message": "on its way", "verifier": "verifier", "keys": gate.jwks()["keys"],
    });
    let mails = Arc::new(AtomicU64::new(0));
    let answer = move |uri: Uri, body: Bytes| {
        let number = mails.fetch_add(1, Ordering::SeqCst);
        let asks_for_link = uri.path().ends_with("/magic-link");
        let answer = match puppet {
            Puppet::Yes => said(200, &yes, HeaderMap::new()),
            Puppet::YesWithMail if asks_for_link => {
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let email = body["email"].as_str().unwrap_or_default();
                let text = format!("To: {email}\n\nhttp://localhost/sign-in#token=t{number}\n\n7K3M-Q2XZ\n");
                std::fs::write(mail.join(format!("{number:08}.part")), text).unwrap();
                let path = mail.join(format!("{number:08}"));
                std::fs::rename(path.with_extension("part"), path.with_extension("eml")).unwrap();
                said(202, &yes, HeaderMap::new())
            }
            Puppet::YesWithMail => said(200, &yes, HeaderMap::new()),
            Puppet::Unauthorized => {
                let mut headers = HeaderMap::new();
                headers.insert("www-authenticate", "Bearer".parse().unwrap());
                headers.insert("x-quire-reason", "TOKEN_INVALID".parse().unwrap());
                said(401, &json!({ "detail": "no" }), headers)
            }
            Puppet::Broken => said(500, &json!({ "detail": "broken" }), HeaderMap::new()),
        };
        async move { answer }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    Started { url, access, refresh }
}

fn said(status: u16, body: &Value, headers: HeaderMap) -> Response {
    let json = [("content-type", "application/json")];
    (StatusCode::from_u16(status).unwrap(), headers, json, body.to_string()).into_response()
}
