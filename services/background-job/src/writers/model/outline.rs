//! Reads the outline that a model proposes.

use serde::Deserialize;

use crate::writer::{PlannedChapter, PlannedSection};

const MAX_TITLE_CHARACTERS: usize = 200;
const MAX_CHAPTERS: usize = 60;

/// Why an answer is no outline, in words that tell the model how to mend it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutlineError {
    #[error("the answer is not the JSON object that was asked for: {0}")]
    Json(String),
    #[error("there must be 1 to {MAX_CHAPTERS} chapters, each with at least one section")]
    Empty,
    #[error("there must be exactly the chapters that the customer named, {0} of them")]
    Chapters(usize),
    #[error("there must be at most {0} sections in all")]
    TooMany(usize),
    #[error("every title must have 1 to {MAX_TITLE_CHARACTERS} characters in one line")]
    Title,
}

#[derive(Deserialize)]
struct Outline {
    chapters: Vec<Chapter>,
}

#[derive(Deserialize)]
struct Chapter {
    title: String,
    sections: Vec<String>,
}

/// Reads an outline out of an answer, which may stand in a code fence or between other words. Wished chapter titles
/// win over what the model made of them.
///
/// # Errors
/// [`OutlineError`].
pub fn parse(
    answer: &str,
    wished: &[String],
    max_sections: usize,
) -> Result<Vec<PlannedChapter>, OutlineError> {
    let json = match (answer.find('{'), answer.rfind('}')) {
        (Some(start), Some(end)) if start < end => &answer[start..=end],
        _ => return Err(OutlineError::Json("there is no object in it".to_owned())),
    };
    let outline: Outline =
        serde_json::from_str(json).map_err(|error| OutlineError::Json(error.to_string()))?;
    let chapters = outline.chapters;
    if chapters.is_empty()
        || chapters.len() > MAX_CHAPTERS
        || chapters.iter().any(|chapter| chapter.sections.is_empty())
    {
        return Err(OutlineError::Empty);
    }
    if !wished.is_empty() && wished.len() != chapters.len() {
        return Err(OutlineError::Chapters(wished.len()));
    }
    if chapters.iter().map(|chapter| chapter.sections.len()).sum::<usize>() > max_sections {
        return Err(OutlineError::TooMany(max_sections));
    }
    let mut planned = Vec::with_capacity(chapters.len());
    for (at, chapter) in chapters.iter().enumerate() {
        let mut sections = Vec::with_capacity(chapter.sections.len());
        for (section, number) in chapter.sections.iter().zip(1..) {
            sections
                .push(PlannedSection { key: format!("{}.{number}", at + 1), title: Some(title(section)?) });
        }
        let wished = wished.get(at).map_or(chapter.title.as_str(), String::as_str);
        planned.push(PlannedChapter { title: title(wished)?, sections });
    }
    Ok(planned)
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
        "Here it is:\n```json\n{\"chapters\":[{\"title\":\"1. Paper\",\"sections\":[\"1.1 Rags\",\"Wood\"]},
        {\"title\":\"Ink\",\"sections\":[\"2026 in print\"]}]}\n```";

    #[test]
    fn a_fenced_outline_is_read_and_its_numbers_go() {
        let chapters = parse(ANSWER, &[], 10).unwrap();
        assert_eq!(chapters[0].title, "Paper");
        assert_eq!(chapters[0].sections[0].title.as_deref(), Some("Rags"));
        assert_eq!(
            chapters[1].sections[0],
            PlannedSection { key: "2.1".to_owned(), title: Some("2026 in print".to_owned()) }
        );
    }

    #[test]
    fn the_customers_titles_win_and_their_number_must_fit() {
        let wished = ["Papier".to_owned(), "Tinte".to_owned()];
        assert_eq!(parse(ANSWER, &wished, 10).unwrap()[1].title, "Tinte");
        assert_eq!(parse(ANSWER, &wished[..1], 10), Err(OutlineError::Chapters(1)));
    }

    #[test]
    fn what_is_no_outline_is_refused_with_the_reason() {
        assert!(matches!(parse("no", &[], 10), Err(OutlineError::Json(_))));
        assert!(matches!(parse("{\"chapters\":3}", &[], 10), Err(OutlineError::Json(_))));
        assert_eq!(parse("{\"chapters\":[]}", &[], 10), Err(OutlineError::Empty));
        assert_eq!(parse(ANSWER, &[], 2), Err(OutlineError::TooMany(2)));
        let blank = "{\"chapters\":[{\"title\":\" \",\"sections\":[\"x\"]}]}";
        assert_eq!(parse(blank, &[], 10), Err(OutlineError::Title));
    }
}
