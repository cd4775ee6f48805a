//! Reads the text layer of a PDF, page by page.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Document, PlainTextOutput, output_doc_page};

use super::tidy::tidy;
use super::{MAX_TEXT_BYTES, Refusal};

/// Fewer characters a page than this, on average, is a scan or a book of pictures.
const MIN_CHARACTERS_A_PAGE: usize = 120;
/// One page in so many may fail before the whole file counts as unreadable; a failed page is empty.
const ONE_FAILURE_IN: usize = 10;

/// # Errors
/// The file is damaged, asks for a password, or has no text layer.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<String>, Refusal> {
    let document = catch_unwind(|| open(bytes)).unwrap_or(Err(Refusal::DamagedPdf))?;
    let numbers: Vec<u32> = document.get_pages().into_keys().collect();
    if numbers.is_empty() {
        return Err(Refusal::NoPages);
    }
    let mut pages = Vec::with_capacity(numbers.len());
    let mut failures = 0;
    let mut size = 0;
    for number in numbers {
        let page = read_page(&document, number).unwrap_or_else(|| {
            failures += 1;
            String::new()
        });
        size += page.len();
        if size > MAX_TEXT_BYTES {
            return Err(Refusal::TooMuchText);
        }
        pages.push(page);
    }
    if failures * ONE_FAILURE_IN > pages.len() {
        return Err(Refusal::DamagedPdf);
    }
    let visible = |page: &String| page.chars().filter(|character| !character.is_whitespace()).count();
    let characters: usize = pages.iter().map(visible).sum();
    if characters < MIN_CHARACTERS_A_PAGE * pages.len() {
        return Err(Refusal::NoTextLayer);
    }
    Ok(pages)
}

fn open(bytes: &[u8]) -> Result<Document, Refusal> {
    let mut document = Document::load_mem(bytes).map_err(|error| match error {
        pdf_extract::Error::Decryption(_) | pdf_extract::Error::InvalidPassword => Refusal::Encrypted,
        _ => Refusal::DamagedPdf,
    })?;
    // Many files are encrypted with an empty password, only to forbid printing.
    if document.is_encrypted() {
        document.decrypt("").map_err(|_| Refusal::Encrypted)?;
    }
    Ok(document)
}

fn read_page(document: &Document, number: u32) -> Option<String> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut text = String::new();
        let read = output_doc_page(document, &mut PlainTextOutput::new(&mut text), number);
        read.ok().map(|()| text)
    }));
    read.ok().flatten().map(|text| tidy(text.trim()))
}
