//! The settings of the payment service.

use std::time::Duration;

use quire_database::Settings as DatabaseSettings;
use quire_identity::MasterSecret;
use quire_serve::metrics::Metrics;
use quire_serve::settings::{Common, Settings, is_published};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::currency::Currency;
use crate::pricing::{MAX_AMOUNT_MINOR, Pricing};
use crate::provider::{ProviderSettings, is_loopback};

/// Shared with the payment sandbox so that development needs no settings. Refused in production.
pub const DEVELOPMENT_API_KEY: &str = "sk_test_quire_sandbox";
/// As [`DEVELOPMENT_API_KEY`], for the signatures of webhooks.
pub const DEVELOPMENT_WEBHOOK_SECRET: &str = "whsec_quire_sandbox";
/// Where the payment sandbox listens unless it is told otherwise.
pub const DEVELOPMENT_STRIPE_URL: &str = "http://127.0.0.1:12111";

/// A session lives at least 30 minutes at the provider, plus two margins for clocks.
const SHORTEST_LIFE_SECONDS: u64 = 33 * 60;
const LONGEST_LIFE_SECONDS: u64 = 24 * 60 * 60;
/// Thirty-five days: the provider tells of events for thirty, and one that is forgotten here would count as missed.
const RETENTION_SECONDS: u64 = 35 * 24 * 3600;
/// Shorter webhook secrets could be guessed.
const MIN_SECRET_CHARACTERS: usize = 16;

/// Everything the payment service needs to start. Has no `Debug`; that of its parts leaves secrets out.
#[derive(Clone)]
pub struct Config {
    pub database: DatabaseSettings,
    /// Apply missing migrations at start.
    pub migrate: bool,
    pub master: MasterSecret,
    pub auth_url: String,
    pub document_url: String,
    pub job_url: String,
    /// The gateway as customers see it.
    pub public_url: Url,
    pub pricing: Pricing,
    /// How long a quote is locked.
    pub checkout_life: Duration,
    pub provider: ProviderSettings,
    /// More than one while a secret is being replaced.
    pub webhook_secrets: Vec<SecretString>,
    pub redis_url: Option<SecretString>,
    /// Whether the account's events are about real money, as far as its key tells.
    pub livemode: Option<bool>,
    /// How long finished events and idempotency keys are kept. The keys of the business stay for ever.
    pub retention: Duration,
    /// How often the records are compared.
    pub reconcile_every: Duration,
    /// What is younger is on its way, and is not compared.
    pub reconcile_grace: Duration,
    pub metrics: Metrics,
}

impl Config {
    /// Reads the settings. Mistakes are noted in `settings`; nothing may start until its `finish` has passed.
    /// Without a usable master secret there is no configuration at all.
    pub fn read(settings: &mut Settings, common: &Common) -> Option<Self> {
        let production = settings.production();
        let master = MasterSecret::new(common.master_secret.clone());
        let master = master.map_err(|error| settings.problem(error.to_string())).ok();
        let pricing = read_pricing(settings);
        let provider = read_provider(settings, production);
        let webhook_secrets = read_webhook_secrets(settings, production);
        let public_url = read_url(settings, "QUIRE_PUBLIC_URL", "http://127.0.0.1:8080");
        let life = settings.number(
            "QUIRE_CHECKOUT_LIFE_SECONDS",
            LONGEST_LIFE_SECONDS,
            SHORTEST_LIFE_SECONDS..=LONGEST_LIFE_SECONDS,
        );
        let redis_url = settings.secret("REDIS_URL");
        let retention = settings.number(
            "QUIRE_WEBHOOK_RETENTION_SECONDS",
            RETENTION_SECONDS,
            RETENTION_SECONDS..=u64::MAX >> 32,
        );
        let every = settings.number("QUIRE_RECONCILE_SECONDS", 300, 5..=24 * 3600);
        let grace = settings.number("QUIRE_RECONCILE_GRACE_SECONDS", 60, 0..=24 * 3600);
        Some(Self {
            database: DatabaseSettings {
                url: common.database_url.clone(),
                schema: "payment".to_owned(),
                max_connections: settings.number("QUIRE_DATABASE_CONNECTIONS", 8, 2..=1000),
            },
            migrate: common.migrate,
            master: master?,
            auth_url: common.auth_url.clone(),
            document_url: common.document_url.clone(),
            job_url: common.job_url.clone(),
            public_url: public_url?,
            pricing: pricing?,
            checkout_life: Duration::from_secs(life),
            livemode: provider.as_ref().and_then(livemode),
            provider: provider?,
            webhook_secrets,
            redis_url,
            retention: Duration::from_secs(retention),
            reconcile_every: Duration::from_secs(every),
            reconcile_grace: Duration::from_secs(grace),
            metrics: Metrics::default(),
        })
    }
}

fn read_pricing(settings: &mut Settings) -> Option<Pricing> {
    let page_minor = settings.number("QUIRE_PRICE_PER_PAGE_MINOR", 50_i64, 1..=MAX_AMOUNT_MINOR);
    let max_pages = settings.number("QUIRE_PAGES_MAX", 1000_i32, 1..=100_000);
    let min_pages = settings.number("QUIRE_PAGES_MIN", 3_i32, 1..=100_000);
    let code = settings.text("QUIRE_CURRENCY", "eur");
    let Some(currency) = Currency::parse(&code) else {
        settings.problem(format!("QUIRE_CURRENCY is `{code}`: no supported ISO 4217 code"));
        return None;
    };
    if page_minor.saturating_mul(max_pages.into()) > MAX_AMOUNT_MINOR {
        settings.problem(format!(
            "QUIRE_PRICE_PER_PAGE_MINOR times QUIRE_PAGES_MAX is more than {MAX_AMOUNT_MINOR}, the most a payment can be"
        ));
    }
    let step = currency.step();
    if page_minor % step != 0 {
        settings.problem(format!(
            "QUIRE_PRICE_PER_PAGE_MINOR is {page_minor}: the provider takes {currency} only in steps of {step}"
        ));
    }
    Some(Pricing { page_minor, currency, min_pages, max_pages })
}

fn read_provider(settings: &mut Settings, production: bool) -> Option<ProviderSettings> {
    let url = read_url(settings, "QUIRE_STRIPE_URL", DEVELOPMENT_STRIPE_URL);
    let api_key = settings.secret("QUIRE_STRIPE_API_KEY");
    let api_key = api_key.unwrap_or_else(|| SecretString::from(DEVELOPMENT_API_KEY));
    if production {
        if url.as_ref().is_some_and(|url| url.scheme() != "https" || is_loopback(url)) {
            settings.problem(
                "QUIRE_STRIPE_URL points to the payment sandbox, or not to https: refused in production",
            );
        }
        if is_published(api_key.expose_secret()) {
            settings.problem("QUIRE_STRIPE_API_KEY is not set, or is the sandbox's: refused in production");
        }
    }
    Some(ProviderSettings { url: url?, api_key })
}

/// The provider's keys say which of its two worlds they belong to.
fn livemode(provider: &ProviderSettings) -> Option<bool> {
    let key = provider.api_key.expose_secret();
    let starts = |world: &str| ["sk", "rk"].iter().any(|kind| key.starts_with(&format!("{kind}_{world}_")));
    match (starts("live"), starts("test")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

fn read_webhook_secrets(settings: &mut Settings, production: bool) -> Vec<SecretString> {
    let secrets = settings.secret_list("QUIRE_STRIPE_WEBHOOK_SECRETS");
    if !production {
        let development = || vec![SecretString::from(DEVELOPMENT_WEBHOOK_SECRET)];
        return if secrets.is_empty() { development() } else { secrets };
    }
    let weak = |secret: &SecretString| {
        let secret = secret.expose_secret();
        is_published(secret) || secret.chars().count() < MIN_SECRET_CHARACTERS
    };
    if secrets.is_empty() {
        settings.problem("QUIRE_STRIPE_WEBHOOK_SECRETS is not set: refused in production");
    } else if secrets.iter().any(weak) {
        settings
            .problem("QUIRE_STRIPE_WEBHOOK_SECRETS is the sandbox's, or too short: refused in production");
    }
    secrets
}

fn read_url(settings: &mut Settings, name: &str, default: &str) -> Option<Url> {
    let text = settings.text(name, default);
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
        _ => {
            settings.problem(format!("{name} is not an http or https address"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn common() -> Common {
        Common {
            database_url: "sqlite:///tmp/payment.db".to_owned(),
            data_dir: PathBuf::from("/tmp"),
            migrate: true,
            master_secret: SecretString::from("0123456789abcdef0123456789abcdef"),
            auth_url: "http://127.0.0.1:1".to_owned(),
            document_url: "http://127.0.0.1:2".to_owned(),
            payment_url: "http://127.0.0.1:3".to_owned(),
            job_url: "http://127.0.0.1:4".to_owned(),
        }
    }

    fn problems(values: &[(&str, &str)]) -> Vec<String> {
        let pairs = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(pairs.collect());
        Config::read(&mut settings, &common());
        settings.finish().err().map(|error| error.problems).unwrap_or_default()
    }

    const PRODUCTION: [(&str, &str); 4] = [
        ("QUIRE_ENV", "production"),
        ("QUIRE_STRIPE_URL", "https://api.stripe.com"),
        ("QUIRE_STRIPE_API_KEY", "rk_live_0123456789"),
        ("QUIRE_STRIPE_WEBHOOK_SECRETS", "whsec_0123456789abcdef"),
    ];

    #[test]
    fn no_part_shows_a_secret() {
        let values = [
            ("QUIRE_STRIPE_API_KEY", "sk_hidden"),
            ("QUIRE_STRIPE_WEBHOOK_SECRETS", "whsec_hidden"),
            ("REDIS_URL", "redis://:hidden@redis"),
        ];
        let pairs = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let database_url = "postgres://quire:hidden@database/quire".to_owned();
        let common = Common {
            database_url,
            master_secret: SecretString::from("hidden: 0123456789abcdef0123456789abcdef"),
            ..common()
        };
        let config = Config::read(&mut Settings::from_map(pairs.into()), &common).unwrap();
        let Config { database, master, provider, webhook_secrets, redis_url, .. } = config;
        let shown = format!("{:?}", (database, master, provider, webhook_secrets, redis_url));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn development_needs_no_settings() {
        assert_eq!(problems(&[]), Vec::<String>::new());
    }

    #[test]
    fn production_refuses_everything_of_the_sandbox() {
        assert_eq!(problems(&PRODUCTION), Vec::<String>::new());
        assert_eq!(problems(&PRODUCTION[..1]).len(), 3);
        for (name, value) in [
            ("QUIRE_STRIPE_URL", DEVELOPMENT_STRIPE_URL),
            ("QUIRE_STRIPE_URL", "http://sandbox:8095"),
            ("QUIRE_STRIPE_URL", "https://localhost"),
            ("QUIRE_STRIPE_API_KEY", DEVELOPMENT_API_KEY),
            ("QUIRE_STRIPE_API_KEY", "sk_test_development_only"),
            ("QUIRE_STRIPE_API_KEY", ""),
            ("QUIRE_STRIPE_WEBHOOK_SECRETS", DEVELOPMENT_WEBHOOK_SECRET),
            ("QUIRE_STRIPE_WEBHOOK_SECRETS", "whsec_0123456789abcdef,whsec_quire_sandbox"),
            ("QUIRE_STRIPE_WEBHOOK_SECRETS", "short"),
            ("QUIRE_STRIPE_WEBHOOK_SECRETS", ""),
        ] {
            let mut values = PRODUCTION.to_vec();
            values.push((name, value));
            let found = problems(&values);
            assert_eq!(found.len(), 1, "{name}={value} gave {found:?}");
            assert!(found[0].starts_with(name), "{found:?}");
        }
    }

    #[test]
    fn prices_that_cannot_be_charged_are_refused() {
        assert_eq!(problems(&[("QUIRE_CURRENCY", "xyz")]).len(), 1);
        assert_eq!(problems(&[("QUIRE_PRICE_PER_PAGE_MINOR", "0")]).len(), 1);
        assert_eq!(problems(&[("QUIRE_PRICE_PER_PAGE_MINOR", "100000")]).len(), 1);
        let kuwait = [("QUIRE_CURRENCY", "kwd"), ("QUIRE_PRICE_PER_PAGE_MINOR", "155")];
        assert_eq!(problems(&kuwait).len(), 1);
        let japan = [("QUIRE_CURRENCY", "JPY"), ("QUIRE_PRICE_PER_PAGE_MINOR", "80")];
        assert_eq!(problems(&japan), Vec::<String>::new());
    }
}
