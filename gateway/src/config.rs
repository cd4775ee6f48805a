//! The gateway's settings.

use ipnet::IpNet;
use quire_identity::MasterSecret;
use quire_limit::{By, RouteLimit};
use quire_serve::metrics::Metrics;
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
    /// The gateway's own origin, as browsers name it.
    pub public_origin: String,
    /// Whether customers come by https, so that cookies may never travel without it.
    pub https: bool,
    /// Largest accepted source file, in bytes.
    pub source_max_bytes: usize,
    pub limits: Limits,
    /// Where requests are counted; unless it is replaced, nobody sees it.
    pub metrics: Metrics,
}

/// The rate limits by route.
#[derive(Debug, Clone)]
pub struct Limits {
    pub magic_link: RouteLimit,
    pub verify: RouteLimit,
    pub refresh: RouteLimit,
    /// Opening a checkout.
    pub checkout: RouteLimit,
    /// Every request of a signed-in caller.
    pub api: RouteLimit,
}

impl Limits {
    fn read(settings: &mut Settings) -> Self {
        use By::{Address, Session, User};
        let mut limit = |setting: &str, route: &str, default: &str, allowed: &[By]| {
            let text = settings.text(setting, default);
            // The first is what a limit counts by unless it says otherwise.
            RouteLimit::parse(route, &text, allowed[0], allowed).unwrap_or_else(|error| {
                settings.problem(format!("{setting}: {error}"));
                RouteLimit { name: route.to_owned(), policies: Vec::new() }
            })
        };
        let refresh = "5/minute, 20/hour, 30/minute by session";
        Self {
            magic_link: limit("QUIRE_LIMIT_MAGIC_LINK", "magic_link", "5/minute", &[Address]),
            verify: limit("QUIRE_LIMIT_VERIFY", "verify", "10/minute", &[Address]),
            refresh: limit("QUIRE_LIMIT_REFRESH", "refresh", refresh, &[Address, Session]),
            checkout: limit("QUIRE_LIMIT_CHECKOUT", "checkout", "20/minute", &[User, Address, Session]),
            api: limit("QUIRE_LIMIT_API", "api", "1200/minute burst 240", &[User, Session, Address]),
        }
    }

    /// All of them.
    pub fn routes(&self) -> [&RouteLimit; 5] {
        [&self.magic_link, &self.verify, &self.refresh, &self.checkout, &self.api]
    }
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
        let mut cors_origins = settings.list("QUIRE_CORS_ORIGINS");
        if cors_origins.iter().any(|origin| origin == "*") {
            // Cookies go with these requests: everybody's page could sign in for the customer.
            settings
                .problem("QUIRE_CORS_ORIGINS has `*`: origins such as https://app.example.org are accepted");
            cors_origins.clear();
        }
        let public_url = settings.text("QUIRE_PUBLIC_URL", "http://localhost:8080");
        let public_origin = url::Url::parse(&public_url).map(|url| url.origin().ascii_serialization());
        Self {
            auth_url: common.auth_url.clone(),
            document_url: common.document_url.clone(),
            payment_url: common.payment_url.clone(),
            job_url: common.job_url.clone(),
            master,
            redis_url: settings.secret("REDIS_URL"),
            trusted_proxies,
            cors_origins,
            // Without one no page has it.
            public_origin: public_origin.unwrap_or_default(),
            https: public_url.to_ascii_lowercase().starts_with("https:"),
            source_max_bytes: settings.number("QUIRE_SOURCE_MAX_BYTES", 20 << 20, 1024..=1 << 30),
            limits: Limits::read(settings),
            metrics: Metrics::default(),
        }
    }
}
