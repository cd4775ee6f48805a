//! What a customer changes in an outline: the wished chapters of a draft, and, while a job waits for the approval of its
//! proposal, that proposal.

use std::collections::{HashMap, HashSet};

use quire_fault::{Rule, Violation};

use crate::documents::{owned, status};
use crate::error::DocumentError;
use crate::outline::{MAX_CHAPTERS, MAX_TITLE, Outline, Outlines, SectionTitle, written};
use crate::status::Status;
use crate::store::{DocumentRow, WAITING};
use crate::text_rule;

const MAX_BRIEF: usize = 300;
/// An outline may have two sections for each page and this many more: every proposal of a writer fits.
const MORE_SECTIONS: usize = 4;

/// What a customer sends.
pub enum Change {
    /// Titles of chapters; none: the writer chooses.
    Wish(Vec<String>),
    /// What shall be written. Sections without a key are new.
    Edit(Outline),
}

impl Outlines {
    /// # Errors
    /// Every broken rule at once; `DOCUMENT_STATE` when this cannot be changed any more, or not yet.
    pub async fn change(&self, user_id: &str, id: &str, change: Change) -> Result<Outline, DocumentError> {
        match change {
            Change::Edit(outline) => self.edit(user_id, id, outline).await,
            Change::Wish(titles) => {
                if titles.is_empty() && awaits_approval(&owned(&self.store, user_id, id).await?)? {
                    return Err(DocumentError::field("chapters", Rule::Missing));
                }
                self.wish(user_id, id, &titles).await
            }
        }
    }

    async fn edit(&self, user_id: &str, id: &str, asked: Outline) -> Result<Outline, DocumentError> {
        let row = owned(&self.store, user_id, id).await?;
        if !awaits_approval(&row)? {
            return Err(refusal(&row));
        }
        let proposed = written(&row)?.unwrap_or_default();
        let violations = violations(&asked, &proposed, row.target_pages);
        if !violations.is_empty() {
            return Err(DocumentError::Invalid(violations));
        }
        let edited = edited(asked, &proposed);
        let json = serde_json::to_string(&edited)?;
        if self.store.edit_outline(user_id, id, &json, self.world.now()).await? {
            return Ok(edited);
        }
        Err(refusal(&owned(&self.store, user_id, id).await?))
    }
}

fn refusal(row: &DocumentRow) -> DocumentError {
    let refused = "an outline with sections can be changed only while it waits for approval";
    match status(row) {
        Ok(status) => DocumentError::State { status, refused },
        Err(error) => error,
    }
}

/// Whether the document's job rests until the customer has approved the outline.
pub fn awaits_approval(row: &DocumentRow) -> Result<bool, DocumentError> {
    Ok(row.outline_review == WAITING && Status::ACTIVE.contains(&status(row)?))
}

/// Every broken rule of an edited outline.
fn violations(asked: &Outline, proposed: &Outline, pages: i32) -> Vec<Violation> {
    let mut violations = Vec::new();
    let bound = |most: usize| i64::try_from(most).unwrap_or(i64::MAX);
    if asked.chapters.len() > MAX_CHAPTERS {
        violations.push(Violation::new("chapters", Rule::TooLong(bound(MAX_CHAPTERS))));
    }
    let most = usize::try_from(pages).unwrap_or_default() * 2 + MORE_SECTIONS;
    if asked.sections().count() > most {
        let rule = Rule::Value(format!("a document of {pages} pages has at most {most} sections"));
        violations.push(Violation::new("chapters", rule));
    }
    let known: HashSet<&str> = proposed.sections().map(|section| section.key.as_str()).collect();
    let mut seen = HashSet::new();
    for (place, chapter) in asked.chapters.iter().enumerate() {
        let path = format!("chapters.{place}");
        violations.extend(text_rule::line(&format!("{path}.title"), &chapter.title, 1, MAX_TITLE));
        if chapter.sections.is_empty() {
            violations.push(Violation::new(&format!("{path}.sections"), Rule::Missing));
        }
        for (place, section) in chapter.sections.iter().enumerate() {
            let path = format!("{path}.sections.{place}");
            let key = section.key.as_str();
            let wrong = match (key.is_empty(), known.contains(key)) {
                (false, false) => {
                    Some("the outline has no section with this key: leave it out for a new one")
                }
                (false, true) if !seen.insert(key) => Some("another section has this key"),
                _ => None,
            };
            violations.extend(
                wrong.map(|wrong| Violation::new(&format!("{path}.key"), Rule::Value(wrong.to_owned()))),
            );
            violations.extend(text_rule::line(&format!("{path}.title"), &section.title, 1, MAX_TITLE));
            violations.extend(text_rule::line(&format!("{path}.brief"), &section.brief, 0, MAX_BRIEF));
        }
    }
    violations
}

/// The outline that was asked for, with keys for what is new and what is known about the rest.
fn edited(mut asked: Outline, proposed: &Outline) -> Outline {
    let known: HashMap<&str, &SectionTitle> =
        proposed.sections().map(|section| (section.key.as_str(), section)).collect();
    // A key that was once somebody's is not given to another one.
    let mut taken: HashSet<String> = known.keys().map(|key| (*key).to_owned()).collect();
    for (number, chapter) in (1..).zip(&mut asked.chapters) {
        chapter.title = chapter.title.trim().to_owned();
        for section in &mut chapter.sections {
            section.title = section.title.trim().to_owned();
            section.brief = section.brief.trim().to_owned();
            section.words = 0;
            if let Some(before) = known.get(section.key.as_str()) {
                section.words = before.words;
                if section.brief.is_empty() && section.title == before.title {
                    section.brief.clone_from(&before.brief);
                }
            } else {
                section.key = free_key(number, &mut taken);
            }
        }
    }
    asked
}

/// The first key of a chapter that no section has.
fn free_key(chapter: usize, taken: &mut HashSet<String>) -> String {
    let mut number = 1;
    loop {
        let key = format!("{chapter}.{number}");
        if taken.insert(key.clone()) {
            return key;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outline::Chapter;

    fn section(key: &str, title: &str, brief: &str) -> SectionTitle {
        SectionTitle { key: key.to_owned(), title: title.to_owned(), brief: brief.to_owned(), words: 7 }
    }

    fn outline(chapters: Vec<Vec<SectionTitle>>) -> Outline {
        let chapter = |sections| Chapter { title: " One ".to_owned(), sections };
        Outline { chapters: chapters.into_iter().map(chapter).collect() }
    }

    fn proposed() -> Outline {
        outline(vec![vec![section("1.1", "A", "about a"), section("1.2", "B", "about b")]])
    }

    #[test]
    fn new_sections_get_keys_and_the_others_keep_what_is_known() {
        let asked = outline(vec![
            vec![section("1.2", "B", ""), section("", "new", "fresh")],
            vec![section("1.1", "renamed", ""), section("", "newer", "")],
        ]);
        assert!(violations(&asked, &proposed(), 6).is_empty());
        let edited = edited(asked, &proposed());
        let read = |section: &SectionTitle| (section.key.clone(), section.brief.clone(), section.words);
        let read: Vec<_> = edited.sections().map(read).collect();
        let expected = [("1.2", "about b", 7), ("1.3", "fresh", 0), ("1.1", "", 7), ("2.1", "", 0)];
        assert_eq!(read, expected.map(|(key, brief, words)| (key.to_owned(), brief.to_owned(), words)));
        assert_eq!(edited.chapters[0].title, "One");
    }

    #[test]
    fn every_broken_rule_is_named_by_its_place() {
        let mut asked = outline(vec![
            vec![section("9.9", " ", ""), section("1.1", "A", &"x".repeat(301)), section("1.1", "A", "")],
            Vec::new(),
        ]);
        asked.chapters[1].title = "x".repeat(201);
        let fields: Vec<String> =
            violations(&asked, &proposed(), 6).into_iter().map(|violation| violation.field).collect();
        let expected = [
            "chapters.0.sections.0.key",
            "chapters.0.sections.0.title",
            "chapters.0.sections.1.brief",
            "chapters.0.sections.2.key",
            "chapters.1.title",
            "chapters.1.sections",
        ];
        assert_eq!(fields, expected);
        let many = outline(vec![vec![section("", "A", ""); 17]]);
        assert_eq!(violations(&many, &proposed(), 6).len(), 1);
        let chapters = outline(vec![vec![section("", "A", "")]; 61]);
        assert_eq!(violations(&chapters, &proposed(), 60)[0].rule, Rule::TooLong(60));
    }
}
