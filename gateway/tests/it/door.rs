//! A gateway in front of one upstream, and an HTTP client in front of it.

use std::path::PathBuf;

use quire_clock::World;
use quire_gateway::Config;
use quire_identity::MasterSecret;
use quire_serve::metrics::Metrics;
use quire_serve::settings::{Common, Settings};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Door {
    pub url: String,
    pub metrics: Metrics,
    http: reqwest::Client,
    _shutdown: DropGuard,
}

impl Door {
    /// `secret` is shared by replicas of one installation.
    pub async fn open(upstream: &str, secret: &str, settings: &[(&str, &str)]) -> Self {
        let secret = SecretString::from(format!("{secret:-<32}"));
        let pairs = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(pairs.collect());
        let common = Common {
            database_url: String::new(),
            data_dir: PathBuf::new(),
            migrate: false,
            master_secret: secret.clone(),
            auth_url: upstream.to_owned(),
            document_url: upstream.to_owned(),
            payment_url: upstream.to_owned(),
            job_url: upstream.to_owned(),
        };
        let config = Config::read(&mut settings, &common, MasterSecret::new(secret).unwrap());
        settings.finish().unwrap();
        let metrics = config.metrics.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let guard = shutdown.clone().drop_guard();
        tokio::spawn(quire_gateway::serve(config, World::system(), listener, shutdown));
        Self { url, metrics, http: reqwest::Client::builder().no_proxy().build().unwrap(), _shutdown: guard }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub fn magic_link(&self) -> RequestBuilder {
        let body = serde_json::json!({ "email": "ada@example.org" });
        self.request(Method::POST, "/api/v1/auth/magic-link").json(&body)
    }
}

pub fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

pub async fn json(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
