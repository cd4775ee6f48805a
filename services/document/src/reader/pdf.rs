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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use pdf_extract::{
        EncryptionState, EncryptionVersion, Object, Permissions, Stream, StringFormat, dictionary,
    };

    use super::*;

    /// A PDF of one page for each text.
    fn pdf(texts: &[&str]) -> Document {
        let mut document = Document::with_version("1.5");
        let pages = document.new_object_id();
        let font = document.add_object(dictionary! {
            "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
        });
        let resources = document.add_object(dictionary! { "Font" => dictionary! { "F1" => font } });
        let kids: Vec<Object> = texts
            .iter()
            .map(|text| {
                let content = format!("BT /F1 10 Tf 50 700 Td ({text}) Tj ET");
                let content = document.add_object(Stream::new(dictionary! {}, content.into_bytes()));
                document
                    .add_object(dictionary! { "Type" => "Page", "Parent" => pages, "Contents" => content })
                    .into()
            })
            .collect();
        let count = i64::try_from(kids.len()).unwrap();
        document.objects.insert(
            pages,
            Object::Dictionary(dictionary! {
                "Type" => "Pages", "Kids" => kids, "Count" => count, "Resources" => resources,
                "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
            }),
        );
        let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => pages });
        document.trailer.set("Root", catalog);
        let id = Object::String(vec![7; 16], StringFormat::Literal);
        document.trailer.set("ID", Object::Array(vec![id.clone(), id]));
        document
    }

    fn bytes(document: &mut Document) -> Vec<u8> {
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).unwrap();
        bytes
    }

    fn encrypted(text: &str, user_password: &str) -> Vec<u8> {
        let mut document = pdf(&[text]);
        let version = EncryptionVersion::V2 {
            document: &document,
            owner_password: "owner",
            user_password,
            key_length: 128,
            permissions: Permissions::all(),
        };
        let state = EncryptionState::try_from(version).unwrap();
        document.encrypt(&state).unwrap();
        bytes(&mut document)
    }

    #[test]
    fn every_page_is_read_and_counted() {
        let (first, second) = ("Paper was made of rags. ".repeat(8), "Later it was made of wood. ".repeat(8));
        let pages = read(&bytes(&mut pdf(&[&first, &second]))).unwrap();
        assert_eq!(pages, [first.trim(), second.trim()]);
    }

    #[test]
    fn a_password_is_only_asked_for_when_there_is_one() {
        let text = "Paper was made of rags. ".repeat(8);
        assert_eq!(read(&encrypted(&text, "secret")), Err(Refusal::Encrypted));
        assert_eq!(read(&encrypted(&text, "")), Ok(vec![text.trim().to_owned()]));
    }

    #[test]
    fn scans_damaged_files_and_empty_ones_are_told_apart() {
        assert_eq!(read(&bytes(&mut pdf(&["1", "2"]))), Err(Refusal::NoTextLayer));
        assert_eq!(read(&bytes(&mut pdf(&[]))), Err(Refusal::NoPages));
        assert_eq!(read(b"%PDF-1.7\nnothing of the kind"), Err(Refusal::DamagedPdf));
    }

    /// Sentences that stand in the files, with ligatures, diacritics and Cyrillic; their page; all pages.
    const REAL: [(&str, usize, usize, &str); 6] = [
        ("debian-faq.en.pdf", 20, 73, "These distributions are Debian based. But they are not Debian."),
        ("debian-policy.en.pdf", 40, 193, "Packages should build reproducibly"),
        ("debian-faq.de.pdf", 12, 77, "Wörterbücher scheinen verschiedene Möglichkeiten der Aussprache"),
        ("debian-faq.it.pdf", 12, 75, "Questa parola è la contrazione dei nomi di Debra e Ian Murdock"),
        ("debian-faq.ru.pdf", 12, 75, "Имя проекта произносится как Дебиан, с коротким е и ударением"),
        ("maint-guide.ru.pdf", 20, 69, "Настройка quilt"),
    ];

    #[test]
    fn real_manuals_in_several_scripts_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/sources");
        if !folder.is_dir() {
            println!("skipped: the folder of real manuals is absent");
            return;
        }
        for (name, page, count, sentence) in REAL {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            let start = Instant::now();
            let pages = read(&bytes).unwrap();
            println!("{name}: {} pages in {:?}", pages.len(), start.elapsed());
            assert_eq!(pages.len(), count, "{name}");
            assert!(pages[page - 1].contains(sentence), "{name}: {}", pages[page - 1]);
            assert!(!pages.concat().contains(['\u{fb01}', '\u{ad}', '\u{fffd}']), "{name}");
        }
    }
}
