//! Tells the kind of an uploaded file by its extension and its content, which must agree.

use std::io::{Read, Seek};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The kinds that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    Pdf,
    Docx,
    Text,
    Markdown,
}

/// PDF readers accept some bytes before the mark.
const PDF_MARK_WITHIN: usize = 1024;
const PDF_MARK: &[u8] = b"%PDF-";
const ZIP_MARK: &[u8] = b"PK\x03\x04";
/// The part that every DOCX file has.
pub(super) const DOCX_BODY: &str = "word/document.xml";

impl FileKind {
    /// By the extension alone, in any case.
    pub fn from_name(file_name: &str) -> Option<Self> {
        let (_, extension) = file_name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "pdf" => Some(Self::Pdf),
            "docx" => Some(Self::Docx),
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Text => "text/plain",
            Self::Markdown => "text/markdown",
        }
    }

    /// What the customer calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pdf => "PDF",
            Self::Docx => "DOCX",
            Self::Text => "text",
            Self::Markdown => "Markdown",
        }
    }

    /// Whether the content is what the extension says. Text is only checked for not being one of the
    /// others: its encoding is the text reader's business.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn fits(self, path: &Path) -> std::io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        let mut head = Vec::with_capacity(PDF_MARK_WITHIN);
        file.by_ref().take(PDF_MARK_WITHIN as u64).read_to_end(&mut head)?;
        let pdf = head.windows(PDF_MARK.len()).any(|window| window == PDF_MARK);
        let zip = head.starts_with(ZIP_MARK);
        Ok(match self {
            Self::Pdf => pdf,
            Self::Docx => {
                file.rewind()?;
                zip && zip::ZipArchive::new(file)
                    .is_ok_and(|archive| archive.index_for_name(DOCX_BODY).is_some())
            }
            Self::Text | Self::Markdown => !zip && !head.starts_with(PDF_MARK),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_read_in_any_case() {
        assert_eq!(FileKind::from_name("A.b.PDF"), Some(FileKind::Pdf));
        assert_eq!(FileKind::from_name("notes.markdown"), Some(FileKind::Markdown));
        assert_eq!(FileKind::from_name("table.xlsx"), None);
        assert_eq!(FileKind::from_name("pdf"), None);
    }
}
