//! What the settings decide about this service.

use std::path::PathBuf;

use quire_serve::metrics::Metrics;
use quire_serve::settings::{Common, Settings};
use secrecy::SecretString;

use crate::page_count::PageRule;
use crate::spec::{SpecRules, Writer};

const MIB: u64 = 1024 * 1024;

/// Everything [`crate::serve`] needs to know. Has no `Debug`: the database's address may hold a password.
#[derive(Clone)]
pub struct Config {
    pub database: quire_database::Settings,
    /// Apply missing migrations at start.
    pub migrate: bool,
    pub master_secret: SecretString,
    /// Where the public keys of access tokens come from.
    pub auth_url: String,
    /// Holds the folders `files` and `incoming`.
    pub data_dir: PathBuf,
    pub rules: SpecRules,
    /// Largest source file, in bytes.
    pub source_max_bytes: u64,
    /// Most characters of all sources of a document together.
    pub sources_max_characters: i64,
    /// Started as `program read-source` for every file that is read.
    pub reader_program: PathBuf,
    /// Where calls are counted; unless it is replaced, nobody sees it.
    pub metrics: Metrics,
}

impl Config {
    /// Reads `QUIRE_PAGES_*`, `QUIRE_SECTION_PAGES_*`, `QUIRE_WRITERS` (default: `digest`, and `openai` when
    /// `QUIRE_MODEL_BASE_URL` is set, and `anthropic` when `QUIRE_ANTHROPIC_MODEL` is), `QUIRE_WRITER`, `QUIRE_SOURCE_MAX_BYTES` (default 20 MiB),
    /// `QUIRE_SOURCES_MAX_CHARACTERS` (default 20 million), `QUIRE_CHILD_PROGRAM` (default: this program) and `QUIRE_DATABASE_CONNECTIONS`. Mistakes are noted in
    /// the settings.
    pub fn read(settings: &mut Settings, common: &Common) -> Self {
        let named = settings.optional("QUIRE_CHILD_PROGRAM").map(PathBuf::from);
        let reader_program = named.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| {
            settings.problem("QUIRE_CHILD_PROGRAM is not set, and the path of this program is unknown");
            PathBuf::new()
        });
        Self {
            database: quire_database::Settings {
                url: common.database_url.clone(),
                schema: "document".to_owned(),
                max_connections: settings.number("QUIRE_DATABASE_CONNECTIONS", 8, 2..=1000),
            },
            migrate: common.migrate,
            master_secret: common.master_secret.clone(),
            auth_url: common.auth_url.clone(),
            data_dir: common.data_dir.clone(),
            rules: read_rules(settings),
            source_max_bytes: settings.number("QUIRE_SOURCE_MAX_BYTES", 20 * MIB, 1024..=1024 * MIB),
            sources_max_characters: settings.number(
                "QUIRE_SOURCES_MAX_CHARACTERS",
                20_000_000,
                1..=1_000_000_000,
            ),
            reader_program,
            metrics: Metrics::default(),
        }
    }
}

fn read_rules(settings: &mut Settings) -> SpecRules {
    let pages = PageRule::read(settings);
    let mut writers = vec![Writer::Digest];
    let named = settings.list("QUIRE_WRITERS");
    for name in &named {
        match Writer::parse(name) {
            Some(Writer::Digest) => {}
            Some(writer) => writers.push(writer),
            None => {
                let known: Vec<&str> = Writer::ALL.iter().map(|writer| writer.name()).collect();
                let known = known.join(", ");
                settings.problem(format!("QUIRE_WRITERS has `{name}` in it: accepted are {known}"));
            }
        }
    }
    let models = [(Writer::OpenAi, "QUIRE_MODEL_BASE_URL"), (Writer::Anthropic, "QUIRE_ANTHROPIC_MODEL")];
    for (writer, setting) in models {
        if named.is_empty() && settings.optional(setting).is_some() {
            writers.push(writer);
        }
    }
    writers.dedup();
    let names: Vec<&str> = writers.iter().map(|writer| writer.name()).collect();
    let default = settings.choice("QUIRE_WRITER", Writer::Digest.name(), &names);
    SpecRules { pages, default_writer: Writer::parse(&default).unwrap_or(Writer::Digest), writers }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::spec::Kind;

    fn settings(values: &[(&str, &str)]) -> Settings {
        let pairs = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_map(pairs.collect::<HashMap<_, _>>())
    }

    #[test]
    fn a_configured_model_offers_a_second_writer() {
        let rules = read_rules(&mut settings(&[]));
        assert_eq!(rules.writers, [Writer::Digest]);
        let rules = read_rules(&mut settings(&[("QUIRE_MODEL_BASE_URL", "http://localhost:11434/v1")]));
        assert_eq!(rules.writers, [Writer::Digest, Writer::OpenAi]);
        let both =
            [("QUIRE_MODEL_BASE_URL", "http://localhost:11434/v1"), ("QUIRE_ANTHROPIC_MODEL", "claude")];
        assert_eq!(read_rules(&mut settings(&both)).writers, Writer::ALL);
        assert_eq!(rules.default_writer, Writer::Digest);
    }

    #[test]
    fn page_bounds_that_exclude_their_default_are_reported() {
        let mut lowered = settings(&[("QUIRE_PAGES_MIN", "1")]);
        assert!(read_rules(&mut lowered).pages.check(Kind::Document, 1).is_ok());
        assert!(lowered.finish().is_ok());
        let mut raised = settings(&[("QUIRE_PAGES_MIN", "60")]);
        read_rules(&mut raised);
        assert!(raised.finish().unwrap_err().to_string().contains("QUIRE_PAGES_DEFAULT is 50"));
    }
}
