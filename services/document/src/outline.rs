//! The outline: the chapters a customer wishes, and the one a job writes.

use std::collections::{HashMap, HashSet};

use quire_clock::World;
use quire_fault::{Rule, Violation};
use serde::{Deserialize, Serialize};

use crate::documents::{draft, owned, status};
use crate::error::DocumentError;
use crate::outline_review;
use crate::preview;
use crate::status::Status;
use crate::store::{DocumentRow, SectionRow, Store};
use crate::text_rule;

pub const MAX_CHAPTERS: usize = 60;
pub const MAX_TITLE: usize = 200;
const MAX_KEY: usize = 40;

/// Chapters and their sections, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    pub chapters: Vec<Chapter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chapter {
    pub title: String,
    pub sections: Vec<SectionTitle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionTitle {
    /// Stable inside the document: `2.1`.
    pub key: String,
    /// Empty: the text stands directly below the chapter's heading.
    pub title: String,
    /// What it covers and its neighbours do not, in one sentence; may be empty.
    #[serde(default)]
    pub brief: String,
    /// Words that it should have; 0: as many as every other section.
    #[serde(default)]
    pub words: u32,
}

/// What an owner sees.
pub struct Shown {
    pub outline: Outline,
    /// The keys of the sections whose text is stored.
    pub written: HashSet<String>,
    pub awaits_approval: bool,
    /// It was planned before the order.
    pub preview: bool,
}

/// What an owner sees and decides about the outline.
pub struct Outlines {
    pub store: Store,
    pub world: World,
}

impl Outlines {
    /// The outline that is written; before there is one, the preview, or else the chapters that the customer wishes.
    pub async fn get(&self, user_id: &str, id: &str) -> Result<Shown, DocumentError> {
        let row = owned(&self.store, user_id, id).await?;
        let awaits_approval = outline_review::awaits_approval(&row)?;
        if let Some(outline) = written(&row)? {
            let written = self.store.written_keys(id).await?.into_iter().collect();
            return Ok(Shown { outline, written, awaits_approval, preview: false });
        }
        let planned = match preview::stored(&row)? {
            Some(planned) => {
                let revision = preview::revision(&row, &self.store.sources(id).await?)?;
                Some(planned.outline).filter(|_| planned.revision == revision)
            }
            None => None,
        };
        let preview = planned.is_some();
        let outline = match planned {
            Some(outline) => outline,
            None => of_titles(wished(&row)?),
        };
        Ok(Shown { outline, written: HashSet::new(), awaits_approval, preview })
    }

    /// Sets the chapters that the customer wishes; none: the writer chooses.
    ///
    /// # Errors
    /// Every broken rule at once; `DOCUMENT_STATE` when it is no draft.
    pub async fn wish(&self, user_id: &str, id: &str, titles: &[String]) -> Result<Outline, DocumentError> {
        let row = owned(&self.store, user_id, id).await?;
        let violations = check_titles(titles);
        if !violations.is_empty() {
            return Err(DocumentError::Invalid(violations));
        }
        const REFUSED: &str = "only the chapters of a draft can be chosen";
        draft(&row, REFUSED)?;
        let titles: Vec<String> = titles.iter().map(|title| title.trim().to_owned()).collect();
        let json = serde_json::to_string(&titles)?;
        if self.store.wish_chapters(user_id, id, &json, self.world.now()).await? {
            return Ok(of_titles(titles));
        }
        draft(&owned(&self.store, user_id, id).await?, REFUSED)?;
        Err(DocumentError::Busy)
    }

    /// The written sections with their titles, in the order of the outline. None of a document whose job failed, or
    /// was cancelled and delivered nothing: it is refunded, and its text is not given away.
    pub async fn sections(
        &self,
        user_id: &str,
        id: &str,
    ) -> Result<Vec<(String, SectionRow)>, DocumentError> {
        let row = owned(&self.store, user_id, id).await?;
        let refunded = match status(&row)? {
            Status::Failed => true,
            Status::Cancelled => row.delivered_job_id != row.job_id,
            _ => false,
        };
        if refunded {
            return Ok(Vec::new());
        }
        let outline = written(&row)?.unwrap_or_default();
        let rows = self.store.sections(id).await?.into_iter();
        let mut by_key: HashMap<String, SectionRow> =
            rows.map(|row| (row.section_key.clone(), row)).collect();
        let sections = outline.chapters.into_iter().flat_map(|chapter| chapter.sections);
        Ok(sections.filter_map(|section| Some((section.title, by_key.remove(&section.key)?))).collect())
    }
}

impl Outline {
    /// Every broken rule of an outline that a job sends.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut keys = HashSet::new();
        if self.chapters.is_empty() {
            violations.push(Violation::new("outline.chapters", Rule::Missing));
        }
        for (chapter_place, chapter) in self.chapters.iter().enumerate() {
            let path = format!("outline.chapters.{chapter_place}");
            violations.extend(Violation::text_length(&format!("{path}.title"), &chapter.title, 1, MAX_TITLE));
            for (place, section) in chapter.sections.iter().enumerate() {
                let path = format!("{path}.sections.{place}");
                violations.extend(text_rule::line(&format!("{path}.key"), &section.key, 1, MAX_KEY));
                violations.extend(Violation::text_length(
                    &format!("{path}.title"),
                    &section.title,
                    0,
                    MAX_TITLE,
                ));
                if !keys.insert(section.key.as_str()) {
                    let rule = Rule::Value("another section has this key".to_owned());
                    violations.push(Violation::new(&format!("{path}.key"), rule));
                }
            }
        }
        violations
    }

    pub fn sections(&self) -> impl Iterator<Item = &SectionTitle> {
        self.chapters.iter().flat_map(|chapter| &chapter.sections)
    }

    /// The keys of the sections that stand in both outlines with the same title: their text stays valid.
    pub fn common_keys(&self, earlier: &Self) -> Vec<String> {
        let earlier: HashMap<&str, &str> =
            earlier.sections().map(|section| (section.key.as_str(), section.title.as_str())).collect();
        self.sections()
            .filter(|section| earlier.get(section.key.as_str()) == Some(&section.title.as_str()))
            .map(|section| section.key.clone())
            .collect()
    }
}

/// The outline that is written, once there is one.
pub fn written(row: &DocumentRow) -> Result<Option<Outline>, DocumentError> {
    Ok(row.outline.as_deref().map(serde_json::from_str).transpose()?)
}

/// The titles of the chapters that the customer wishes.
pub fn wished(row: &DocumentRow) -> Result<Vec<String>, DocumentError> {
    Ok(serde_json::from_str(&row.wished_chapters)?)
}

fn of_titles(titles: Vec<String>) -> Outline {
    let chapters = titles.into_iter().map(|title| Chapter { title, sections: Vec::new() });
    Outline { chapters: chapters.collect() }
}

fn check_titles(titles: &[String]) -> Vec<Violation> {
    if titles.len() > MAX_CHAPTERS {
        let most = i64::try_from(MAX_CHAPTERS).unwrap_or(i64::MAX);
        return vec![Violation::new("chapter_titles", Rule::TooLong(most))];
    }
    let check = |(place, title): (usize, &String)| {
        text_rule::line(&format!("chapter_titles.{place}"), title, 1, MAX_TITLE)
    };
    titles.iter().enumerate().filter_map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(sections: &[(&str, &str)]) -> Outline {
        let sections = sections.iter();
        let sections = sections.map(|(key, title)| SectionTitle {
            key: (*key).to_owned(),
            title: (*title).to_owned(),
            brief: String::new(),
            words: 0,
        });
        Outline { chapters: vec![Chapter { title: "One".to_owned(), sections: sections.collect() }] }
    }

    #[test]
    fn every_bad_title_is_named_by_its_place() {
        let titles = ["good".to_owned(), " ".to_owned(), "x".repeat(201), "a\0b".to_owned()];
        let fields: Vec<String> =
            check_titles(&titles).into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["chapter_titles.1", "chapter_titles.2", "chapter_titles.3"]);
        assert_eq!(check_titles(&vec!["a".to_owned(); 61])[0].rule, Rule::TooLong(60));
        assert!(check_titles(&[]).is_empty());
    }

    #[test]
    fn a_key_may_stand_once() {
        let violations = outline(&[("1.1", "A"), ("1.1", "B")]).violations();
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "outline.chapters.0.sections.1.key");
    }

    #[test]
    fn text_stays_only_under_the_same_key_and_title() {
        let earlier = outline(&[("1.1", "A"), ("1.2", "B"), ("1.3", "C")]);
        let later = outline(&[("1.1", "A"), ("1.2", "other"), ("1.4", "C")]);
        assert_eq!(later.common_keys(&earlier), ["1.1"]);
    }
}
