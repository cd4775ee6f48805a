//! Reads the text of uploaded files in a child process, because readers of PDF panic, hang and use up memory
//! on bad files, and none of this may reach the service.

mod child;
mod docx;
mod kind;
mod parent;
mod pdf;
mod text;
mod tidy;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use child::run_child;
pub use kind::FileKind;
pub use parent::{ReadError, SourceReader};

/// More text than this in one file is refused: a thousand printed pages are about three mebibytes.
const MAX_TEXT_BYTES: usize = 32 * 1024 * 1024;

/// The text of a file, page by page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// One entry a page of a PDF; one entry for a file without pages. DOCX and Markdown come as Markdown,
    /// so that headings survive.
    pub pages: Vec<String>,
    /// Whether the pages are pages of the file, and can be cited.
    pub has_pages: bool,
}

impl Reading {
    pub fn characters(&self) -> usize {
        self.pages.iter().map(|page| page.chars().count()).sum()
    }
}

/// Why a file cannot be used. The text is for the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("the PDF is damaged and cannot be read")]
    DamagedPdf,
    #[error("the PDF is protected with a password")]
    Encrypted,
    #[error("the PDF has no text layer: it seems to be a scan")]
    NoTextLayer,
    #[error("the PDF has no pages")]
    NoPages,
    #[error("the DOCX file is damaged and cannot be read")]
    DamagedDocx,
    #[error("the DOCX file unpacks to an unreasonable size")]
    ZipBomb,
    #[error("the file is not text in UTF-8, UTF-16 or Windows-1252")]
    NotText,
    #[error("the file has no text in it")]
    NoText,
    #[error("the file has too much text; split it")]
    TooMuchText,
    #[error("reading the file took too long")]
    TooSlow,
    #[error("reading the file needs too much memory")]
    TooMuchMemory,
    #[error("the file cannot be read")]
    Unreadable,
}

/// Reads a file in this process. Only the child process and tests call it.
///
/// # Errors
/// The file is damaged, protected, without text, or larger than what is read.
pub fn read_file(path: &Path, kind: FileKind) -> Result<Reading, Refusal> {
    let bytes = std::fs::read(path).map_err(|_| Refusal::Unreadable)?;
    let reading = match kind {
        FileKind::Pdf => Reading { pages: pdf::read(&bytes)?, has_pages: true },
        FileKind::Docx => Reading { pages: vec![docx::read(&bytes)?], has_pages: false },
        FileKind::Text | FileKind::Markdown => Reading { pages: vec![text::read(&bytes)?], has_pages: false },
    };
    let size: usize = reading.pages.iter().map(String::len).sum();
    if size > MAX_TEXT_BYTES {
        return Err(Refusal::TooMuchText);
    }
    if reading.pages.iter().all(|page| page.trim().is_empty()) {
        return Err(Refusal::NoText);
    }
    Ok(reading)
}
