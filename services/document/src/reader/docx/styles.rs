//! Which paragraph styles are headings, whatever the file's language calls them.

use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::reader::Refusal;

/// Styles refer to one another; a circle must end.
const MAX_INHERITANCE: usize = 16;

/// Heading levels by style id, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Headings(HashMap<String, u8>);

impl Headings {
    pub(super) fn level(&self, style: &str) -> Option<u8> {
        self.0.get(style).copied()
    }
}

#[derive(Debug, Default)]
struct Style {
    id: String,
    based_on: Option<String>,
    level: Option<u8>,
}

/// Reads `word/styles.xml`. A level comes from the outline level, from the built-in names `heading 1` to
/// `heading 9` and `Title`, or from the style it is based on.
pub(super) fn headings(xml: &str) -> Result<Headings, Refusal> {
    let mut styles: HashMap<String, Style> = HashMap::new();
    let mut current = Style::default();
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(|_| Refusal::DamagedDocx)? {
            Event::Start(start) | Event::Empty(start) => match start.local_name().as_ref() {
                "style" => {
                    current =
                        Style { id: attribute(&start, "styleId").unwrap_or_default(), ..Style::default() };
                }
                "name" => {
                    let name = attribute(&start, "val").unwrap_or_default();
                    current.level = current.level.or_else(|| level_of_name(&name));
                }
                "basedOn" => current.based_on = attribute(&start, "val"),
                "outlineLvl" => current.level = outline_level(&start).or(current.level),
                _ => {}
            },
            Event::End(end) if end.local_name().as_ref() == "style" => {
                let style = std::mem::take(&mut current);
                styles.insert(style.id.clone(), style);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let level = |id: &String| {
        let mut style = styles.get(id)?;
        for _ in 0..MAX_INHERITANCE {
            if style.level.is_some() {
                return style.level;
            }
            style = styles.get(style.based_on.as_ref()?)?;
        }
        None
    };
    Ok(Headings(styles.keys().filter_map(|id| Some((id.clone(), level(id)?))).collect()))
}

/// The level in `w:outlineLvl`, which counts from 0; 9 means body text.
pub(super) fn outline_level(element: &BytesStart<'_>) -> Option<u8> {
    let level: u8 = attribute(element, "val")?.parse().ok()?;
    (level < 9).then_some(level + 1)
}

/// The value of an attribute, whatever its prefix.
pub(super) fn attribute(element: &BytesStart<'_>, local_name: &str) -> Option<String> {
    let mut attributes = element.attributes().flatten();
    let found = attributes.find(|attribute| attribute.key.local_name().as_ref() == local_name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

fn level_of_name(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    if name == "title" {
        return Some(1);
    }
    let level: u8 = name.strip_prefix("heading ")?.parse().ok()?;
    (1..=9).contains(&level).then_some(level)
}
