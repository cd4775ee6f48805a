//! A customer's HTTP client: what the demo walks with and the benchmarks measure.

mod events;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// Waits for something that is under way already: a mail being written, a webhook being delivered.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A customer, signed in or not yet.
#[derive(Clone)]
pub struct Customer {
    client: reqwest::Client,
    base: String,
    access_token: String,
    refresh_token: String,
    /// Of the last link that was asked for: this is the device that may use it.
    verifier: String,
}

impl Customer {
    /// # Errors
    /// The TLS provider of the process is missing.
    pub fn new(gateway: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        Ok(Self {
            client,
            base: format!("{gateway}/api/v1"),
            access_token: String::new(),
            refresh_token: String::new(),
            verifier: String::new(),
        })
    }

    /// Asks for a link, reads its token out of the mail folder and trades it for a session.
    ///
    /// # Errors
    /// The gateway refuses, or no mail comes.
    pub async fn sign_in(&mut self, email: &str, mail_dir: &Path) -> anyhow::Result<()> {
        let token = self.request_link(email, mail_dir).await?;
        self.use_link(&token).await
    }

    /// Asks for a link, and answers the token in the mail.
    ///
    /// # Errors
    /// The gateway refuses, or no mail comes.
    pub async fn request_link(&mut self, email: &str, mail_dir: &Path) -> anyhow::Result<String> {
        let asked = self.post("/auth/magic-link", &json!({ "email": email })).await?;
        text(&asked, "verifier")?.clone_into(&mut self.verifier);
        token_from_mail(email, mail_dir).await
    }

    /// Trades a link's token for a session.
    ///
    /// # Errors
    /// The gateway refuses.
    pub async fn use_link(&mut self, token: &str) -> anyhow::Result<()> {
        let tokens = self
            .post("/auth/verify-magic-link", &json!({ "token": token, "verifier": self.verifier }))
            .await?;
        self.keep(&tokens)
    }

    /// Trades the refresh token for a new pair.
    ///
    /// # Errors
    /// The gateway refuses.
    pub async fn refresh(&mut self) -> anyhow::Result<()> {
        let tokens = self.post("/auth/refresh", &json!({ "refresh_token": self.refresh_token })).await?;
        self.keep(&tokens)
    }

    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    pub fn refresh_token(&self) -> &str {
        &self.refresh_token
    }

    fn keep(&mut self, tokens: &Value) -> anyhow::Result<()> {
        text(tokens, "access_token")?.clone_into(&mut self.access_token);
        text(tokens, "refresh_token")?.clone_into(&mut self.refresh_token);
        Ok(())
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        if self.access_token.is_empty() { request } else { request.bearer_auth(&self.access_token) }
    }

    /// # Errors
    /// The gateway refuses; its answer is in the text.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        answer(self.request(reqwest::Method::GET, path)).await
    }

    /// # Errors
    /// The gateway refuses; its answer is in the text.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answer(self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// Adds a source file.
    ///
    /// # Errors
    /// The gateway refuses; its answer is in the text.
    pub async fn upload(&self, document_id: &str, name: &str, bytes: &'static [u8]) -> anyhow::Result<Value> {
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
        let path = format!("/documents/{document_id}/sources");
        answer(self.request(reqwest::Method::POST, &path).multipart(form)).await
    }

    /// Presses the button on the provider's page.
    ///
    /// # Errors
    /// The page is not there, or refuses.
    pub async fn pay(&self, checkout_url: &str) -> anyhow::Result<()> {
        let page = self.client.get(checkout_url).send().await?;
        if !page.status().is_success() {
            bail!("the payment page answered {}", page.status());
        }
        let paid = self.client.post(checkout_url).form(&[("action", "pay")]).send().await?;
        if !paid.status().is_success() {
            bail!("the payment answered {}", paid.status());
        }
        Ok(())
    }

    /// The job that the payment of a document started.
    ///
    /// # Errors
    /// None was started within half a minute.
    pub async fn job_of(&self, document_id: &str) -> anyhow::Result<String> {
        eventually("the payment started no job", async || {
            let jobs = self.get(&format!("/jobs?document_id={document_id}")).await?;
            Ok(jobs["jobs"][0]["id"].as_str().map(str::to_owned))
        })
        .await
    }

    /// A finished document as `pdf` or `md`.
    ///
    /// # Errors
    /// The gateway refuses.
    pub async fn download(&self, document_id: &str, format: &str) -> anyhow::Result<Vec<u8>> {
        let path = format!("/documents/{document_id}/export/{format}");
        let answer = self.request(reqwest::Method::GET, &path).send().await?.error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }
}

/// The token in the newest mail to that address.
async fn token_from_mail(email: &str, folder: &Path) -> anyhow::Result<String> {
    eventually("no mail was written", async || {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Ok(None);
        };
        let files = entries.flatten().map(|entry| entry.path());
        let mut files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|extension| extension == "eml")).collect();
        files.sort();
        let mails = files.iter().rev().filter_map(|path| std::fs::read_to_string(path).ok());
        Ok(mails.filter(|mail| mail.contains(email)).find_map(|mail| token_in(&mail)))
    })
    .await
}

/// The token behind `#token=`, also where the mail's transfer encoding broke the line in the middle of it.
fn token_in(mail: &str) -> Option<String> {
    let plain = mail.replace("=\r\n", "").replace("=\n", "").replace("=3D", "=");
    let (_, rest) = plain.split_once("#token=")?;
    let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && !"-_".contains(character));
    Some(rest[..end.unwrap_or(rest.len())].to_owned())
}

/// A text of an answer.
///
/// # Errors
/// The answer has none of that name.
pub fn text<'a>(json: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    json[name].as_str().with_context(|| format!("the answer has no `{name}`"))
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await.context("the gateway does not answer")?;
    let status = answer.status();
    let body = answer.bytes().await?;
    if !status.is_success() {
        bail!("the gateway answered {status}: {}", String::from_utf8_lossy(&body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&body)?)
}

async fn eventually<T>(
    otherwise: &'static str,
    look: impl AsyncFn() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.context(otherwise)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_across_a_broken_line() {
        let mail = "Open:\r\nhttp://localhost/sign-in#token=3Dabc=\r\nDEF-_9\r\nBye";
        assert_eq!(token_in(mail).as_deref(), Some("abcDEF-_9"));
    }
}
