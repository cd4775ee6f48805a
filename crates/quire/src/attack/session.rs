//! Signing in as a customer would: what every other scenario starts from.

use reqwest::Method;
use reqwest::header::SET_COOKIE;
use serde_json::{Value, json};

use super::Attack;
use super::answer::Answer;
use super::report::{Verdict, untried, wrong};
use super::target::Target;

/// The cookie that may stand in for the verifier.
const COOKIE: &str = "quire_sign_in";

/// A mailed link, not yet used. Has no `Debug`.
pub(crate) struct Link {
    pub(crate) token: String,
    pub(crate) code: String,
    pub(crate) verifier: String,
    /// Seconds that it works.
    pub(crate) lifetime: u64,
    /// The cookie as a browser would send it back; empty if none was set that only the browser itself can read.
    pub(crate) cookie: String,
}

/// Somebody who is signed in. Has no `Debug`.
pub(crate) struct Session {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) user_id: String,
    /// Whether this run made it, and may spend and end it.
    pub(crate) own: bool,
}

impl Link {
    pub(crate) fn by_token(&self) -> Value {
        json!({ "token": self.token, "verifier": self.verifier })
    }

    pub(crate) fn by_code(&self) -> Value {
        json!({ "code": self.code, "verifier": self.verifier })
    }
}

impl Session {
    /// # Errors
    /// The answer is not that of a sign-in or a refresh that worked.
    pub(crate) fn opened_by(answer: Answer, user_id: Option<&str>) -> Verdict<Self> {
        let answer = answer.with_status(200)?;
        let body = answer.json();
        if !body["token_type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(wrong("answered 200, but without `token_type` bearer"));
        }
        let user_id = user_id.or_else(|| body["user"]["id"].as_str());
        let user_id = user_id.ok_or_else(|| wrong("answered 200, but without the user's id"))?.to_owned();
        let (access, refresh) = (answer.text("access_token")?, answer.text("refresh_token")?);
        Ok(Self { access, refresh: Some(refresh), user_id, own: true })
    }
}

impl Target {
    pub(crate) async fn verify(&self, body: &Value) -> Verdict<Answer> {
        self.patiently(self.post("/auth/verify-magic-link", body)).await
    }

    /// Ends a session, so that a run leaves none behind.
    pub(crate) async fn end(&self, session: &Session) -> Verdict {
        if !session.own {
            return Ok(());
        }
        let request = self.request(Method::POST, "/auth/logout").bearer_auth(&session.access);
        self.patiently(request).await?.with_status(204).map(drop)
    }
}

impl Attack {
    /// An address that nobody has used, so that its mail budget is whole.
    pub(crate) fn fresh_email(&mut self) -> String {
        self.addresses += 1;
        format!("attack-{}-{}@{}", self.run_id, self.addresses, self.domain)
    }

    /// Asks for a link and takes it out of the mail.
    pub(crate) async fn link(&self, email: &str) -> Verdict<Link> {
        self.link_with_answer(email).await.map(|(_, link)| link)
    }

    pub(crate) async fn link_with_answer(&self, email: &str) -> Verdict<(Answer, Link)> {
        let mailbox = self.mailbox.as_ref().ok_or_else(|| untried("needs --mail-dir"))?;
        let before = mailbox.now();
        let request = self.target.post("/auth/magic-link", &json!({ "email": email }));
        let answer = self.target.patiently(request).await?.with_status(202)?;
        let (verifier, cookie) = (answer.text("verifier")?, cookie(&answer));
        let lifetime = answer.json()["expires_in"].as_u64();
        let lifetime = lifetime.ok_or_else(|| wrong("answered 202 without `expires_in` in its body"))?;
        let letter = mailbox.next(email, &before).await?;
        Ok((answer, Link { token: letter.token, code: letter.code, verifier, lifetime, cookie }))
    }

    pub(crate) async fn sign_in(&self, email: &str) -> Verdict<Session> {
        let link = self.link(email).await?;
        Session::opened_by(self.target.verify(&link.by_token()).await?, None)
    }
}

/// `name=value` of the cookie, if no script of a page can read it.
fn cookie(answer: &Answer) -> String {
    let cookies = answer.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let ours = cookies.into_iter().find(|cookie| cookie.starts_with(COOKIE)).unwrap_or_default();
    let mut parts = ours.split(';').map(str::trim);
    let pair = parts.next().unwrap_or_default().to_owned();
    if parts.any(|part| part.eq_ignore_ascii_case("httponly")) { pair } else { String::new() }
}
