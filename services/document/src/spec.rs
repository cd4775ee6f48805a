//! What a customer may ask for: every rule of a document's description, all broken ones reported at once.

use quire_fault::{Rule, Violation};

use crate::fallback;
use crate::page_count::PageRule;
use crate::text_rule;

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Document,
    Section,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Document, Self::Section];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Section => "section",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Who writes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Word-for-word quotations from the customer's sources, without a language model.
    Digest,
    /// An OpenAI-compatible language model.
    OpenAi,
    /// A language model behind Anthropic's Messages API.
    Anthropic,
}

impl Writer {
    pub const ALL: [Self; 3] = [Self::Digest, Self::OpenAi, Self::Anthropic];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|writer| writer.name() == name)
    }

    pub const fn asks_a_model(self) -> bool {
        match self {
            Self::Digest => false,
            Self::OpenAi | Self::Anthropic => true,
        }
    }
}

/// The languages a document can be written in: what the writers, labels and fonts cover.
pub const LANGUAGES: [&str; 7] = ["en", "de", "fr", "it", "es", "ru", "uk"];

/// The rules that settings decide.
#[derive(Debug, Clone)]
pub struct SpecRules {
    pub pages: PageRule,
    /// Never empty: the digest needs no configuration.
    pub writers: Vec<Writer>,
    pub default_writer: Writer,
}

/// A description as it was sent: absent fields stay absent.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub title: Option<String>,
    pub topic: Option<String>,
    pub language: Option<String>,
    pub target_pages: Option<i32>,
    /// `Some(None)`: a value that is no kind.
    pub kind: Option<Option<Kind>>,
    pub writer: Option<String>,
    pub review_outline: Option<bool>,
    pub fallback_writers: Option<Vec<String>>,
}

/// A description that keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub title: String,
    pub topic: String,
    pub language: String,
    pub target_pages: i32,
    pub kind: Kind,
    pub writer: Writer,
    pub review_outline: bool,
    /// Who may step in for it, in this order.
    pub fallback_writers: Vec<Writer>,
}

impl SpecRules {
    /// A complete description of a new document; absent fields get their default.
    ///
    /// # Errors
    /// Every broken rule, in field order.
    pub fn create(&self, asked: &Asked) -> Result<Spec, Vec<Violation>> {
        let mut violations = self.violations(asked, None);
        if asked.title.is_none() {
            violations.insert(0, Violation::new("title", Rule::Missing));
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let kind = asked.kind.flatten().unwrap_or(Kind::Document);
        let usual = Spec {
            title: String::new(),
            topic: String::new(),
            language: LANGUAGES[0].to_owned(),
            target_pages: self.pages.default_for(kind).get(),
            kind,
            writer: self.default_writer,
            review_outline: false,
            fallback_writers: Vec::new(),
        };
        Ok(merge(asked, usual))
    }

    /// Checks only the fields that are present.
    ///
    /// # Errors
    /// Every broken rule, in field order.
    pub fn check(&self, asked: &Asked) -> Result<(), Vec<Violation>> {
        let violations = self.violations(asked, None);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// `present` with the fields of `asked` put in its place.
    ///
    /// # Errors
    /// Every broken rule, in field order. A new kind also checks the pages that stay, and a new writer those who may
    /// stand in for it.
    pub fn update(&self, asked: &Asked, present: &Spec) -> Result<Spec, Vec<Violation>> {
        let violations = self.violations(asked, Some(present));
        if violations.is_empty() { Ok(merge(asked, present.clone())) } else { Err(violations) }
    }

    fn violations(&self, asked: &Asked, present: Option<&Spec>) -> Vec<Violation> {
        let title = asked.title.as_ref().and_then(|title| text_rule::line("title", title, 1, 200));
        let topic = asked.topic.as_ref().and_then(|topic| text_rule::lines("topic", topic, 0, 4000));
        let language = asked.language.as_ref().and_then(|language| {
            let known = LANGUAGES.contains(&language.as_str());
            (!known).then(|| Violation::new("language", Rule::Enum(LANGUAGES.map(str::to_owned).to_vec())))
        });
        let kind = match asked.kind {
            Some(None) => {
                let names = Kind::ALL.map(|kind| kind.name().to_owned()).to_vec();
                Some(Violation::new("kind", Rule::Enum(names)))
            }
            Some(Some(_)) | None => None,
        };
        let present_kind = present.map_or(Kind::Document, |present| present.kind);
        let effective_kind = asked.kind.flatten().unwrap_or(present_kind);
        // Without a new kind the pages that stay were checked when they were set; the bounds may have moved.
        let staying = present.filter(|_| effective_kind != present_kind);
        let pages = asked.target_pages.or(staying.map(|present| present.target_pages));
        let pages = pages.and_then(|pages| self.pages.check(effective_kind, pages).err());
        let writer = asked.writer.as_ref().and_then(|writer| {
            let offered = self.writers.iter().any(|offered| offered.name() == writer);
            let names = self.writers.iter().map(|offered| offered.name().to_owned()).collect();
            (!offered).then(|| Violation::new("writer", Rule::Enum(names)))
        });
        let mut violations: Vec<Violation> =
            [title, topic, language, pages, kind, writer].into_iter().flatten().collect();
        violations.extend(self.fallback_violations(asked, present));
        violations
    }

    fn fallback_violations(&self, asked: &Asked, present: Option<&Spec>) -> Vec<Violation> {
        let present_writer = present.map_or(self.default_writer, |present| present.writer);
        let writer = match &asked.writer {
            Some(name) => Writer::parse(name),
            None => Some(present_writer),
        };
        let names = match (&asked.fallback_writers, present) {
            (Some(names), _) => names.clone(),
            // Without a new writer, those that stay were checked when they were set; what is offered may have changed.
            (None, Some(present)) if writer != Some(present_writer) => {
                present.fallback_writers.iter().map(|writer| writer.name().to_owned()).collect()
            }
            (None, _) => return Vec::new(),
        };
        fallback::violations(&names, writer, &self.writers)
    }
}

/// Only called once every rule is kept.
fn merge(asked: &Asked, mut spec: Spec) -> Spec {
    if let Some(title) = &asked.title {
        title.trim().clone_into(&mut spec.title);
    }
    if let Some(topic) = &asked.topic {
        topic.trim().clone_into(&mut spec.topic);
    }
    if let Some(language) = &asked.language {
        spec.language.clone_from(language);
    }
    if let Some(pages) = asked.target_pages {
        spec.target_pages = pages;
    }
    if let Some(kind) = asked.kind.flatten() {
        spec.kind = kind;
    }
    if let Some(writer) = asked.writer.as_deref().and_then(Writer::parse) {
        spec.writer = writer;
    }
    if let Some(review_outline) = asked.review_outline {
        spec.review_outline = review_outline;
    }
    if let Some(names) = &asked.fallback_writers {
        spec.fallback_writers = names.iter().filter_map(|name| Writer::parse(name)).collect();
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> SpecRules {
        SpecRules {
            pages: PageRule::default(),
            writers: vec![Writer::Digest],
            default_writer: Writer::Digest,
        }
    }

    fn titled() -> Asked {
        Asked { title: Some(" On paper ".to_owned()), ..Asked::default() }
    }

    #[test]
    fn absent_fields_get_their_default() {
        let spec = rules().create(&titled()).unwrap();
        assert_eq!(
            spec,
            Spec {
                title: "On paper".to_owned(),
                topic: String::new(),
                language: "en".to_owned(),
                target_pages: 50,
                kind: Kind::Document,
                writer: Writer::Digest,
                review_outline: false,
                fallback_writers: Vec::new(),
            }
        );
        let section = Asked { kind: Some(Some(Kind::Section)), ..titled() };
        assert_eq!(rules().create(&section).unwrap().target_pages, 10);
    }

    #[test]
    fn all_broken_rules_come_at_once_in_field_order() {
        let asked = Asked {
            title: Some("  ".to_owned()),
            topic: Some("x".repeat(4001)),
            language: Some("la".to_owned()),
            target_pages: Some(2),
            kind: Some(None),
            writer: Some("openai".to_owned()),
            review_outline: None,
            fallback_writers: Some(vec!["nobody".to_owned()]),
        };
        let violations = rules().create(&asked).unwrap_err();
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            ["title", "topic", "language", "target_pages", "kind", "writer", "fallback_writers.0"]
        );
    }

    #[test]
    fn a_check_leaves_absent_fields_alone() {
        assert_eq!(rules().check(&Asked::default()), Ok(()));
        assert_eq!(rules().create(&Asked::default()).unwrap_err()[0].rule, Rule::Missing);
    }

    #[test]
    fn a_new_kind_checks_the_pages_that_stay() {
        let present = Spec { target_pages: 400, ..rules().create(&titled()).unwrap() };
        let asked = Asked { kind: Some(Some(Kind::Section)), ..Asked::default() };
        let violations = rules().update(&asked, &present).unwrap_err();
        assert_eq!(violations, [Violation::new("target_pages", Rule::LessThanEqual(100))]);
        let both = Asked { target_pages: Some(40), ..asked };
        assert_eq!(rules().update(&both, &present).unwrap().target_pages, 40);
    }

    #[test]
    fn a_model_can_be_chosen_only_when_one_is_configured() {
        let asked = Asked { writer: Some("openai".to_owned()), ..titled() };
        assert!(rules().create(&asked).is_err());
        let with_model = SpecRules { writers: Writer::ALL.to_vec(), ..rules() };
        assert_eq!(with_model.create(&asked).unwrap().writer, Writer::OpenAi);
    }

    #[test]
    fn a_new_writer_checks_those_who_stand_in_and_stay() {
        let rules = SpecRules { writers: Writer::ALL.to_vec(), ..rules() };
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let writer = |name: &str| Some(name.to_owned());
        let asked = Asked { writer: writer("openai"), fallback_writers: names(&["anthropic"]), ..titled() };
        let present = rules.create(&asked).unwrap();
        assert_eq!(present.fallback_writers, [Writer::Anthropic]);
        let swapped = Asked { writer: writer("anthropic"), ..Asked::default() };
        let violations = rules.update(&swapped, &present).unwrap_err();
        assert_eq!(violations[0].field, "fallback_writers.0");
        let both = Asked { fallback_writers: names(&["openai"]), ..swapped };
        assert_eq!(rules.update(&both, &present).unwrap().fallback_writers, [Writer::OpenAi]);
        let none = Asked { writer: writer("digest"), fallback_writers: names(&[]), ..Asked::default() };
        assert_eq!(rules.update(&none, &present).unwrap().fallback_writers, []);
        assert_eq!(rules.update(&titled(), &present).unwrap().fallback_writers, [Writer::Anthropic]);
    }
}
