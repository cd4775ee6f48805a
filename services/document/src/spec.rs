//! What a customer may ask for: every rule of a document's description, all broken ones reported at once.

use quire_fault::{Rule, Violation};

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
}

impl SpecRules {
    /// A complete description of a new document; absent fields get their default.
    ///
    /// # Errors
    /// Every broken rule, in field order.
    pub fn create(&self, asked: &Asked) -> Result<Spec, Vec<Violation>> {
        let mut violations = self.violations(asked, Kind::Document, None);
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
        };
        Ok(merge(asked, usual))
    }

    /// Checks only the fields that are present.
    ///
    /// # Errors
    /// Every broken rule, in field order.
    pub fn check(&self, asked: &Asked) -> Result<(), Vec<Violation>> {
        let violations = self.violations(asked, Kind::Document, None);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// `present` with the fields of `asked` put in its place.
    ///
    /// # Errors
    /// Every broken rule, in field order. A new kind also checks the pages that stay.
    pub fn update(&self, asked: &Asked, present: &Spec) -> Result<Spec, Vec<Violation>> {
        let violations = self.violations(asked, present.kind, Some(present.target_pages));
        if violations.is_empty() { Ok(merge(asked, present.clone())) } else { Err(violations) }
    }

    fn violations(&self, asked: &Asked, present_kind: Kind, present_pages: Option<i32>) -> Vec<Violation> {
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
        let effective_kind = asked.kind.flatten().unwrap_or(present_kind);
        // Without a new kind the pages that stay were checked when they were set; the bounds may have moved.
        let staying = present_pages.filter(|_| effective_kind != present_kind);
        let pages = asked.target_pages.or(staying);
        let pages = pages.and_then(|pages| self.pages.check(effective_kind, pages).err());
        let writer = asked.writer.as_ref().and_then(|writer| {
            let offered = self.writers.iter().any(|offered| offered.name() == writer);
            let names = self.writers.iter().map(|offered| offered.name().to_owned()).collect();
            (!offered).then(|| Violation::new("writer", Rule::Enum(names)))
        });
        [title, topic, language, pages, kind, writer].into_iter().flatten().collect()
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
        };
        let violations = rules().create(&asked).unwrap_err();
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["title", "topic", "language", "target_pages", "kind", "writer"]);
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
}
