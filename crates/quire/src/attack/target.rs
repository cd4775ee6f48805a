//! The deployment under attack: how it is reached, and how long it is waited for.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::{Client, Method, RequestBuilder, redirect};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::report::{Verdict, untried, wrong};

const DEADLINE: Duration = Duration::from_secs(30);
/// A limit that asks for more than this is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// All waiting of a run together.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often one request is sent again because a limit was in its way.
const TRIES: usize = 8;
/// Requests of a flood that are under way at once.
pub(crate) const CONCURRENCY: usize = 16;

/// Nothing else is ever contacted. Cheap to clone; clones share their patience.
#[derive(Clone)]
pub(crate) struct Target {
    client: Client,
    base: String,
    /// Whether every address of its name is a loopback one.
    pub(crate) on_this_machine: bool,
    patience: Arc<Mutex<Duration>>,
}

impl Target {
    /// # Errors
    /// The address is not understood, or nothing answers there.
    pub(crate) async fn reach(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let (parsed, host) = parsed
            .and_then(|url| url.host_str().map(str::to_owned).map(|host| (url, host)))
            .context("the address is not understood: write http(s)://host, with a port where it has one")?;
        if parsed.query().is_some() || parsed.fragment().is_some() || !parsed.username().is_empty() {
            bail!("write the address of the deployment alone, such as https://quire.example.org");
        }
        let port = parsed.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let addresses =
            tokio::net::lookup_host((bare, port)).await.context("the address has no such host")?;
        let addresses: Vec<_> = addresses.collect();
        let target = Self {
            client: client(None)?,
            base: parsed.as_str().trim_end_matches('/').to_owned(),
            on_this_machine: addresses.iter().all(|address| address.ip().is_loopback()),
            patience: Arc::new(Mutex::new(PATIENCE)),
        };
        // Whatever is answered is judged later.
        if target.page(Method::GET, "/livez").send().await.is_err() {
            bail!("nothing answers at the address");
        }
        Ok(target)
    }

    /// The same deployment, met from another address of this machine.
    pub(crate) fn called_from(&self, address: IpAddr) -> Verdict<Self> {
        let client = client(Some(address)).map_err(|_| untried("no client for a second source address"))?;
        Ok(Self { client, ..self.clone() })
    }

    /// A request below `/api/v1`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.page(method, &format!("/api/v1{path}"))
    }

    pub(crate) fn page(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    pub(crate) fn me(&self, token: &str) -> RequestBuilder {
        self.request(Method::GET, "/auth/me").bearer_auth(token)
    }

    /// Sends once. Any status is an answer; no scenario allows a failure of the server.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Verdict<Answer> {
        let started = Instant::now();
        // The error's text would hold the address, and with it what a query held.
        let broken = |error: reqwest::Error| wrong(format!("no answer: {}", kind(&error)));
        let response = request.send().await.map_err(broken)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(broken)?.to_vec();
        let answer = Answer { status, headers, body, took: started.elapsed() };
        if answer.reason() == "MAIL_BUSY" {
            return Err(untried("the deployment has too many mails waiting; try again later"));
        }
        if status >= 500 {
            return Err(wrong(answer.told()));
        }
        Ok(answer)
    }

    /// Sends, and sends again when a limit was in the way.
    pub(crate) async fn patiently(&self, request: RequestBuilder) -> Verdict<Answer> {
        for _ in 0..TRIES {
            let Some(copy) = request.try_clone() else { break };
            let answer = self.send(copy).await?;
            if answer.status != 429 {
                return Ok(answer);
            }
            let wait = answer.retry_after().ok_or_else(|| wrong("answered 429 without Retry-After"))?;
            self.wait(wait).await?;
        }
        Err(untried("a limit was in the way each time"))
    }

    /// Waits for a limit, within bounds.
    pub(crate) async fn wait(&self, wait: Duration) -> Verdict {
        // A server that asks for no time at all must not be asked without end.
        let wait = wait.max(SHORTEST_WAIT);
        let seconds = wait.as_secs_f64().ceil();
        if wait > LONGEST_WAIT {
            return Err(untried(format!(
                "a limit asks to wait {seconds} s; {} s at most",
                LONGEST_WAIT.as_secs()
            )));
        }
        {
            let mut left = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
            *left = left.checked_sub(wait).ok_or_else(|| {
                untried(format!("limits were waited for {} minutes in all", PATIENCE.as_secs() / 60))
            })?;
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Sends the request until the limit says that so many calls are left, waiting as long as that takes. The last
    /// answer, whatever is left by then.
    pub(crate) async fn with_room(
        &self,
        wanted: u32,
        request: impl Fn() -> RequestBuilder,
    ) -> Verdict<Answer> {
        let mut answer = self.patiently(request()).await?;
        // Once for the wait, once more because the request itself uses one up.
        for _ in 0..2 {
            let Some(quota) = answer.quota() else { break };
            let missing = wanted.min(quota.limit.saturating_sub(1)).saturating_sub(quota.remaining);
            if missing == 0 || self.wait(quota.interval() * (missing + 1)).await.is_err() {
                break;
            }
            answer = self.patiently(request()).await?;
        }
        Ok(answer)
    }

    /// Whether a token works: what a server that refuses everything does not get past.
    pub(crate) async fn takes(&self, token: &str, user_id: &str) -> Verdict<Answer> {
        let answer = self.patiently(self.me(token)).await?.with_status(200)?;
        if answer.json()["id"] != *user_id {
            return Err(wrong("answered 200, but not about the user of the token"));
        }
        Ok(answer)
    }
}

/// Tries many things, so many at once, and answers what became of each, in no order.
pub(crate) async fn flood<T, R>(
    at_once: usize,
    items: impl IntoIterator<Item = T>,
    each: impl AsyncFn(T) -> R,
) -> Vec<R> {
    let each = &each;
    futures::stream::iter(items).map(|item| each(item)).buffer_unordered(at_once).collect().await
}

fn client(address: Option<IpAddr>) -> anyhow::Result<Client> {
    // A proxy of the environment would be attacked in place of the target.
    let builder = Client::builder().no_proxy().redirect(redirect::Policy::none()).local_address(address);
    let agent = concat!("quire-attack/", env!("CARGO_PKG_VERSION"));
    Ok(builder.user_agent(agent).timeout(DEADLINE).build()?)
}

fn kind(error: &reqwest::Error) -> &'static str {
    match error {
        error if error.is_timeout() => "none came in time",
        error if error.is_connect() => "no connection",
        error if error.is_builder() => "the request cannot be sent",
        _ => "the connection broke",
    }
}
