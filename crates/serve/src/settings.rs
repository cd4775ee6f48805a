//! Settings: read once at start, checked whole, all mistakes reported together.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

/// Names to texts, as from the environment, and the mistakes found so far.
#[derive(Clone, Default)]
pub struct Settings {
    values: HashMap<String, String>,
    problems: Vec<String>,
    used: BTreeMap<String, String>,
}

/// Every mistake in the settings, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the settings cannot be used:\n  - {}", .problems.join("\n  - "))]
pub struct SettingsError {
    pub problems: Vec<String>,
}

/// What every service needs. Has no `Debug`: the database's address may hold a password.
#[derive(Clone)]
pub struct Common {
    /// `sqlite://` or `postgres://`.
    pub database_url: String,
    /// Files that belong to this installation.
    pub data_dir: PathBuf,
    /// Apply missing migrations at start.
    pub migrate: bool,
    /// At least 32 characters; every other symmetric key is derived from it.
    pub master_secret: SecretString,
    pub auth_url: String,
    pub document_url: String,
    pub payment_url: String,
    pub job_url: String,
}

impl fmt::Debug for Settings {
    /// What was read, with secrets left out.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(&self.used).finish()
    }
}

impl Settings {
    /// The process's environment.
    pub fn from_env() -> Self {
        Self::from_map(std::env::vars().collect())
    }

    pub fn from_map(values: HashMap<String, String>) -> Self {
        Self { values, ..Self::default() }
    }

    /// Sets a value unless there is one.
    pub fn default_to(&mut self, name: &str, value: impl Into<String>) {
        self.values.entry(name.to_owned()).or_insert_with(|| value.into());
    }

    /// Whether `QUIRE_ENV` is `production`; any value other than that and `development` is a mistake.
    pub fn production(&mut self) -> bool {
        self.choice("QUIRE_ENV", "development", &["development", "production"]) == "production"
    }

    /// A text; empty counts as absent.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        let value =
            self.values.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        self.used.insert(name.to_owned(), value.clone().unwrap_or_default());
        value
    }

    pub fn text(&mut self, name: &str, default: &str) -> String {
        let value = self.optional(name).unwrap_or_else(|| default.to_owned());
        self.used.insert(name.to_owned(), value.clone());
        value
    }

    /// A text that is never shown.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        let value = self.optional(name).map(SecretString::from);
        let shown = if value.is_some() { "(set)" } else { "(not set)" };
        self.used.insert(name.to_owned(), shown.to_owned());
        value
    }

    /// A whole number inside the bounds, both inclusive.
    pub fn number<T>(&mut self, name: &str, default: T, bounds: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.optional(name) else {
            self.used.insert(name.to_owned(), default.to_string());
            return default;
        };
        match text.parse::<T>() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let (least, most) = (bounds.start(), bounds.end());
                self.problem(format!(
                    "{name} is `{text}`: a whole number from {least} to {most} is accepted"
                ));
                default
            }
        }
    }

    /// A time in whole seconds, from 1 second to 10 years.
    pub fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        Duration::from_secs(self.number(name, default.as_secs(), 1..=315_360_000))
    }

    /// Texts between commas, trimmed, none empty.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Secret texts between commas.
    pub fn secret_list(&mut self, name: &str) -> Vec<SecretString> {
        let secrets: Vec<_> = self.list(name).into_iter().map(SecretString::from).collect();
        let shown =
            if secrets.is_empty() { "(not set)".to_owned() } else { format!("({} set)", secrets.len()) };
        self.used.insert(name.to_owned(), shown);
        secrets
    }

    /// One of the accepted words.
    pub fn choice(&mut self, name: &str, default: &str, accepted: &[&str]) -> String {
        let value = self.text(name, default);
        if accepted.contains(&value.as_str()) {
            return value;
        }
        self.problem(format!("{name} is `{value}`: accepted are {}", accepted.join(", ")));
        default.to_owned()
    }

    /// Notes a mistake. Never put a secret or an address with a password into it.
    pub fn problem(&mut self, problem: impl Into<String>) {
        let problem = problem.into();
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Every setting that was read, with its value; secrets are not shown.
    pub fn used(&self) -> &BTreeMap<String, String> {
        &self.used
    }

    /// # Errors
    /// All mistakes found since the start.
    pub fn finish(&self) -> Result<(), SettingsError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(SettingsError { problems: self.problems.clone() })
    }
}

/// Parts of secrets that stand in this project's own files, for development. Whoever can read the project knows
/// them, so production refuses them.
const PUBLISHED: [&str; 4] = ["development-only", "development_only", "replace-me", "quire_sandbox"];

/// Whether a secret is one that everybody knows.
pub fn is_published(secret: &str) -> bool {
    PUBLISHED.iter().any(|part| secret.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        let pairs = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_map(pairs.collect())
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let mut settings = settings(&[("A", "ten"), ("B", "0"), ("QUIRE_ENV", "prod")]);
        assert_eq!(settings.number("A", 3, 1..=9), 3);
        assert_eq!(settings.number("B", 3, 1..=9), 3);
        assert!(!settings.production());
        let error = settings.finish().unwrap_err();
        assert_eq!(error.problems.len(), 3);
        assert!(error.to_string().contains("a whole number from 1 to 9 is accepted"));
    }

    #[test]
    fn a_secret_is_not_among_what_is_shown() {
        let mut settings = settings(&[("KEY", "hunter2"), ("KEYS", "one, two")]);
        assert!(settings.secret("KEY").is_some());
        assert_eq!(settings.secret_list("KEYS").len(), 2);
        assert!(!format!("{:?}", settings.used()).contains("hunter2"));
        assert_eq!(settings.used()["KEYS"], "(2 set)");
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let mut settings = settings(&[("NAME", "  ")]);
        assert_eq!(settings.optional("NAME"), None);
        assert_eq!(settings.text("NAME", "quire"), "quire");
    }
}
