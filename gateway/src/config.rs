//! The gateway's settings.

use ipnet::IpNet;
use quire_identity::MasterSecret;
use quire_limit::RouteLimit;
use quire_serve::settings::{Common, Settings};
use secrecy::SecretString;

/// What the gateway is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    pub auth_url: String,
    pub document_url: String,
    pub payment_url: String,
    pub job_url: String,
    pub master: MasterSecret,
    pub redis_url: Option<SecretString>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Browser origins that may call the API from a page.
    pub cors_origins: Vec<String>,
    /// Largest accepted source file, in bytes.
    pub source_max_bytes: usize,
    pub limits: Limits,
}

/// The rate limits by route.
#[derive(Debug, Clone)]
pub struct Limits {
    pub magic_link: RouteLimit,
    pub verify: RouteLimit,
    pub refresh: RouteLimit,
    /// Opening a checkout.
    pub checkout: RouteLimit,
}

impl Config {
    /// Reads the settings; mistakes are noted there.
    pub fn read(settings: &mut Settings, common: &Common, master: MasterSecret) -> Self {
        let proxies = settings.list("QUIRE_TRUSTED_PROXIES");
        let trusted_proxies = proxies.iter().filter_map(|text| {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
            if net.is_err() {
                settings.problem(format!("QUIRE_TRUSTED_PROXIES has `{text}`: addresses or networks such as 10.0.0.0/8 are accepted"));
            }
            net.ok()
        });
        let trusted_proxies = trusted_proxies.collect();
        Self {
            auth_url: common.auth_url.clone(),
            document_url: common.document_url.clone(),
            payment_url: common.payment_url.clone(),
            job_url: common.job_url.clone(),
            master,
            redis_url: settings.secret("REDIS_URL"),
            trusted_proxies,
            cors_origins: settings.list("QUIRE_CORS_ORIGINS"),
            source_max_bytes: settings.number("QUIRE_SOURCE_MAX_BYTES", 20 << 20, 1024..=1 << 30),
            limits: Limits {
                magic_link: limit(settings, "QUIRE_LIMIT_MAGIC_LINK", "magic_link", "5/minute"),
                verify: limit(settings, "QUIRE_LIMIT_VERIFY", "verify", "10/minute"),
                refresh: limit(settings, "QUIRE_LIMIT_REFRESH", "refresh", "5/minute, 20/hour"),
                checkout: limit(settings, "QUIRE_LIMIT_CHECKOUT", "checkout", "20/minute"),
            },
        }
    }
}

fn limit(settings: &mut Settings, setting: &str, route: &str, default: &str) -> RouteLimit {
    let text = settings.text(setting, default);
    RouteLimit::parse(route, &text).unwrap_or_else(|error| {
        settings.problem(format!("{setting}: {error}"));
        RouteLimit { name: route.to_owned(), policies: Vec::new() }
    })
}
