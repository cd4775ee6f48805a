//! Reads the outlines that a model proposes: of a short document at once, of a long one its chapters and then the
//! sections of each. An answer may stand in a code fence or between other words.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::sizes::MAX_CHAPTERS;

const MAX_TITLE_CHARACTERS: usize = 200;
/// Of the sentence that says what something covers. What is longer is cut: it is only told to the model again.
const MAX_BRIEF_CHARACTERS: usize = 300;

/// Why an answer is no outline, in words that tell the model how to mend it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutlineError {
    #[error("the answer is not the JSON object that was asked for: {0}")]
    Json(String),
    #[error("there must be 1 to {MAX_CHAPTERS} chapters, each with at least one section")]
    Empty,
    #[error("there must be exactly the chapters that the customer named, {0} of them")]
    Chapters(usize),
    #[error("every chapter must have its number of pages, at least 1")]
    Pages,
    #[error("there must be 1 to {0} sections in all")]
    Sections(usize),
    #[error("every title must have 1 to {MAX_TITLE_CHARACTERS} characters in one line")]
    Title,
}

impl OutlineError {
    /// For logs, which must not hold what the model said.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Empty => "empty",
            Self::Chapters(_) => "chapters",
            Self::Pages => "pages",
            Self::Sections(_) => "sections",
            Self::Title => "title",
        }
    }
}

/// A proposed section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub title: String,
    /// What it covers; empty if the model did not say.
    pub brief: String,
}

/// A proposed chapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    pub title: String,
    /// What it covers; empty if the model did not say.
    pub about: String,
    /// Its share, compared with the others'.
    pub pages: u32,
    pub sections: Vec<Section>,
}

#[derive(Deserialize)]
struct RawOutline {
    chapters: Vec<RawChapter>,
}

#[derive(Deserialize)]
struct RawChapter {
    title: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    pages: f64,
    #[serde(default)]
    sections: Vec<RawSection>,
}

#[derive(Deserialize)]
struct RawSections {
    sections: Vec<RawSection>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawSection {
    Titled(String),
    Briefed {
        title: String,
        #[serde(default)]
        brief: String,
    },
}

/// The outline of a short document. Wished chapter titles win over what the model made of them.
///
/// # Errors
/// [`OutlineError`].
pub fn whole(answer: &str, wished: &[String], max_sections: usize) -> Result<Vec<Chapter>, OutlineError> {
    let raw: RawOutline = json(answer)?;
    if raw.chapters.iter().any(|chapter| chapter.sections.is_empty()) {
        return Err(OutlineError::Empty);
    }
    if raw.chapters.iter().map(|chapter| chapter.sections.len()).sum::<usize>() > max_sections {
        return Err(OutlineError::Sections(max_sections));
    }
    chapters_of(raw, wished)
}

/// The chapters of a long document, without sections.
///
/// # Errors
/// [`OutlineError`].
pub fn chapters(answer: &str, wished: &[String]) -> Result<Vec<Chapter>, OutlineError> {
    let raw: RawOutline = json(answer)?;
    let mut chapters = chapters_of(raw, wished)?;
    if chapters.iter().any(|chapter| chapter.pages == 0) {
        return Err(OutlineError::Pages);
    }
    chapters.iter_mut().for_each(|chapter| chapter.sections.clear());
    Ok(chapters)
}

/// The sections of one chapter, or of a part of it.
///
/// # Errors
/// [`OutlineError`].
pub fn sections(answer: &str, max_sections: usize) -> Result<Vec<Section>, OutlineError> {
    let raw: RawSections = json(answer)?;
    if raw.sections.is_empty() || raw.sections.len() > max_sections {
        return Err(OutlineError::Sections(max_sections));
    }
    raw.sections.into_iter().map(section).collect()
}

fn chapters_of(raw: RawOutline, wished: &[String]) -> Result<Vec<Chapter>, OutlineError> {
    let count = raw.chapters.len();
    if count == 0 || count > MAX_CHAPTERS {
        return Err(OutlineError::Empty);
    }
    if !wished.is_empty() && wished.len() != count {
        return Err(OutlineError::Chapters(wished.len()));
    }
    let chapter = |(at, raw): (usize, RawChapter)| {
        Ok(Chapter {
            title: title(wished.get(at).unwrap_or(&raw.title))?,
            about: brief(&raw.about),
            pages: pages(raw.pages),
            sections: raw.sections.into_iter().map(section).collect::<Result<_, _>>()?,
        })
    };
    raw.chapters.into_iter().enumerate().map(chapter).collect()
}

fn json<T: DeserializeOwned>(answer: &str) -> Result<T, OutlineError> {
    let json = match (answer.find('{'), answer.rfind('}')) {
        (Some(start), Some(end)) if start < end => &answer[start..=end],
        _ => return Err(OutlineError::Json("there is no object in it".to_owned())),
    };
    serde_json::from_str(json).map_err(|error| OutlineError::Json(error.to_string()))
}

fn section(raw: RawSection) -> Result<Section, OutlineError> {
    let (raw_title, raw_brief) = match raw {
        RawSection::Titled(title) => (title, String::new()),
        RawSection::Briefed { title, brief } => (title, brief),
    };
    Ok(Section { title: title(&raw_title)?, brief: brief(&raw_brief) })
}

/// Models give halves, too. 0: none that makes sense.
fn pages(raw: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped before")]
    let pages = raw.ceil().clamp(0.0, 10_000.0) as u32;
    pages
}

/// In one line.
fn brief(raw: &str) -> String {
    let line = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_BRIEF_CHARACTERS).collect()
}

/// Without the number that models like to put before it: numbers are printed by the template.
fn title(raw: &str) -> Result<String, OutlineError> {
    let title = raw.trim().trim_start_matches('#').trim();
    let number = title.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(0);
    let numbered = title[..number].contains('.') && title[number..].starts_with(' ');
    let title = if numbered { title[number..].trim() } else { title };
    let length = title.chars().count();
    if length == 0 || length > MAX_TITLE_CHARACTERS || title.contains('\n') {
        return Err(OutlineError::Title);
    }
    Ok(title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        "Here it is:\n```json\n{\"chapters\":[{\"title\":\"1. Paper\",\"sections\":[\"1.1 Rags\",
        {\"title\":\"Wood\",\"brief\":\"How wood\\n became paper.\"}]},
        {\"title\":\"Ink\",\"sections\":[\"2026 in print\"]}]}\n```";

    fn titles(chapter: &Chapter) -> Vec<&str> {
        chapter.sections.iter().map(|section| section.title.as_str()).collect()
    }

    #[test]
    fn a_fenced_outline_is_read_and_its_numbers_go() {
        let chapters = whole(ANSWER, &[], 10).unwrap();
        assert_eq!(chapters[0].title, "Paper");
        assert_eq!(
            (titles(&chapters[0]), titles(&chapters[1])),
            (vec!["Rags", "Wood"], vec!["2026 in print"])
        );
        assert_eq!(chapters[0].sections[0].brief, "");
        assert_eq!(chapters[0].sections[1].brief, "How wood became paper.");
    }

    #[test]
    fn the_customers_titles_win_and_their_number_must_fit() {
        let wished = ["Papier".to_owned(), "Tinte".to_owned()];
        assert_eq!(whole(ANSWER, &wished, 10).unwrap()[1].title, "Tinte");
        assert_eq!(whole(ANSWER, &wished[..1], 10), Err(OutlineError::Chapters(1)));
        let long = r#"{"chapters":[{"title":"a","pages":2},{"title":"b","pages":1.5}]}"#;
        assert_eq!(chapters(long, &wished).unwrap()[1].title, "Tinte");
        assert_eq!(chapters(long, &wished[..1]), Err(OutlineError::Chapters(1)));
    }

    #[test]
    fn what_is_no_outline_is_refused_with_the_reason() {
        assert!(matches!(whole("no", &[], 10), Err(OutlineError::Json(_))));
        assert!(matches!(whole("{\"chapters\":3}", &[], 10), Err(OutlineError::Json(_))));
        assert_eq!(whole("{\"chapters\":[]}", &[], 10), Err(OutlineError::Empty));
        assert_eq!(whole(ANSWER, &[], 2), Err(OutlineError::Sections(2)));
        let blank = "{\"chapters\":[{\"title\":\" \",\"sections\":[\"x\"]}]}";
        assert_eq!(whole(blank, &[], 10), Err(OutlineError::Title));
    }

    #[test]
    fn chapters_have_pages_and_sections_a_number() {
        let read =
            chapters(r#"{"chapters":[{"title":"a","pages":2,"about":"b"},{"title":"c","pages":1.5}]}"#, &[]);
        let read = read.unwrap();
        assert_eq!((read[0].pages, read[0].about.as_str(), read[1].pages), (2, "b", 2));
        for wrong in ["", r#","pages":0"#, r#","pages":-4"#] {
            let answer = format!(r#"{{"chapters":[{{"title":"a"{wrong}}}]}}"#);
            assert_eq!(chapters(&answer, &[]), Err(OutlineError::Pages), "{wrong}");
        }
        assert_eq!(
            chapters(
                &format!(r#"{{"chapters":[{}]}}"#, ["{\"title\":\"a\",\"pages\":1}"; 61].join(",")),
                &[]
            ),
            Err(OutlineError::Empty)
        );
        assert_eq!(sections(r#"{"sections":[]}"#, 3), Err(OutlineError::Sections(3)));
        assert_eq!(sections(r#"{"sections":["a","b","c","d"]}"#, 3), Err(OutlineError::Sections(3)));
        assert_eq!(sections(r#"{"sections":["a","b"]}"#, 3).unwrap().len(), 2);
    }
}
