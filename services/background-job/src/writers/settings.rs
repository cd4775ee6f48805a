//! The settings of the models.

use std::time::Duration;

use quire_serve::settings::Settings;
use secrecy::SecretString;
use url::Url;

use crate::money::budget::Budgets;
use crate::money::price::Prices;

/// Anthropic's own endpoint.
const ANTHROPIC: &str = "https://api.anthropic.com/v1";
/// A budget in millionths of a US dollar.
const MAX_MICRO: i64 = 1_000_000_000_000;

/// Which model, and where.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// `https://api.openai.com/v1`, `http://localhost:11434/v1`.
    pub base_url: Url,
    pub model: String,
    /// Local servers need none.
    pub api_key: Option<SecretString>,
}

/// Everything about language models.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// `None`: documents for the writer `openai` fail.
    pub openai: Option<ModelSettings>,
    /// `None`: documents for the writer `anthropic` fail.
    pub anthropic: Option<ModelSettings>,
    /// A model without a price is not asked. `QUIRE_MODEL_PRICES`.
    pub prices: Prices,
    pub budgets: Budgets,
    /// An answer in which nothing comes for so long is given up. `QUIRE_MODEL_SILENCE_SECONDS`.
    pub silence: Duration,
    /// So long a model that cannot write is waited for, if the order lets another one stand in.
    /// `QUIRE_MODEL_FALLBACK_AFTER_SECONDS`.
    pub fallback_after: Duration,
    /// The provider stops an answer there. `QUIRE_MODEL_MAX_OUTPUT_TOKENS`.
    pub max_output_tokens: u32,
    /// Calls of one model in a minute; 0: no bound. `QUIRE_MODEL_RPM`.
    pub requests_per_minute: u32,
    /// Tokens of one model in a minute, sent and received; 0: no bound. `QUIRE_MODEL_TPM`.
    pub tokens_per_minute: u32,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            openai: None,
            anthropic: None,
            prices: Prices::default(),
            budgets: Budgets::default(),
            silence: Duration::from_secs(60),
            fallback_after: Duration::from_secs(300),
            max_output_tokens: 4096,
            requests_per_minute: 0,
            tokens_per_minute: 0,
        }
    }
}

impl ModelConfig {
    /// Reads the settings; mistakes are noted in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let default = Self::default();
        let names = ["QUIRE_MODEL_BASE_URL", "QUIRE_MODEL", "QUIRE_MODEL_API_KEY"];
        let openai = endpoint(settings, names, None);
        let names = ["QUIRE_ANTHROPIC_BASE_URL", "QUIRE_ANTHROPIC_MODEL", "QUIRE_ANTHROPIC_API_KEY"];
        let anthropic = endpoint(settings, names, Some(ANTHROPIC));
        let prices = settings.text("QUIRE_MODEL_PRICES", "").parse();
        let prices = prices.map_err(|error| settings.problem(format!("QUIRE_MODEL_PRICES: {error}")));
        let mut budget = |name: &str| settings.number(name, 0, 0..=MAX_MICRO);
        let budgets = Budgets {
            job: budget("QUIRE_BUDGET_PER_JOB_MICRO"),
            page: budget("QUIRE_BUDGET_PER_PAGE_MICRO"),
            user_day: budget("QUIRE_BUDGET_PER_USER_DAY_MICRO"),
            day: budget("QUIRE_BUDGET_PER_DAY_MICRO"),
        };
        Self {
            openai,
            anthropic,
            prices: prices.unwrap_or_default(),
            budgets,
            silence: settings.seconds("QUIRE_MODEL_SILENCE_SECONDS", default.silence),
            fallback_after: settings.seconds("QUIRE_MODEL_FALLBACK_AFTER_SECONDS", default.fallback_after),
            max_output_tokens: settings.number(
                "QUIRE_MODEL_MAX_OUTPUT_TOKENS",
                default.max_output_tokens,
                256..=1_000_000,
            ),
            requests_per_minute: settings.number("QUIRE_MODEL_RPM", 0, 0..=1_000_000),
            tokens_per_minute: settings.number("QUIRE_MODEL_TPM", 0, 0..=1_000_000_000),
        }
    }
}

/// An endpoint, if its address and the model's name are set. With a `standard` address, the name is enough.
fn endpoint(
    settings: &mut Settings,
    [base_url, model, api_key]: [&str; 3],
    standard: Option<&str>,
) -> Option<ModelSettings> {
    let address = settings.optional(base_url);
    let name = settings.optional(model);
    let api_key = settings.secret(api_key);
    let (address, model) = match (address, name) {
        (None, None) => return None,
        (address, Some(model)) if address.is_some() || standard.is_some() => {
            (address.or_else(|| standard.map(str::to_owned))?, model)
        }
        _ => {
            settings.problem(format!("{base_url} and {model} belong together: one of them is missing"));
            return None;
        }
    };
    match Url::parse(&address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            Some(ModelSettings { base_url: url, model, api_key })
        }
        _ => {
            settings.problem(format!("{base_url} must start with http:// or https://"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> (ModelConfig, Settings) {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(values.collect());
        (ModelConfig::read(&mut settings), settings)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let (config, settings) = read(&[]);
        settings.finish().unwrap();
        assert!(config.openai.is_none() && config.anthropic.is_none());
        assert_eq!(config.budgets, Budgets::default());
    }

    #[test]
    fn the_name_of_a_model_is_enough_where_the_address_is_known() {
        let (config, settings) = read(&[("QUIRE_ANTHROPIC_MODEL", "claude")]);
        settings.finish().unwrap();
        assert_eq!(config.anthropic.unwrap().base_url.as_str(), ANTHROPIC);
        for half in ["QUIRE_MODEL", "QUIRE_MODEL_BASE_URL", "QUIRE_ANTHROPIC_BASE_URL"] {
            let (_, settings) = read(&[(half, "http://127.0.0.1")]);
            assert_eq!(settings.finish().unwrap_err().problems.len(), 1, "{half}");
        }
    }

    #[test]
    fn wrong_prices_and_budgets_are_all_reported() {
        let values = [("QUIRE_MODEL_PRICES", "x=cheap"), ("QUIRE_BUDGET_PER_JOB_MICRO", "-1")];
        let (_, settings) = read(&values);
        assert_eq!(settings.finish().unwrap_err().problems.len(), 2);
    }
}
