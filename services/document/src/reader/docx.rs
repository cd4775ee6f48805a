//! Reads a DOCX file as Markdown: headings, lists and tables keep their structure, everything else is text.

mod body;
mod styles;

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::Refusal;
use super::kind::DOCX_BODY;
use super::tidy::tidy;

const STYLES: &str = "word/styles.xml";
/// All parts together, as the archive declares them.
const MAX_DECLARED_BYTES: u128 = 512 * 1024 * 1024;
/// One part, as it really unpacks: declared sizes can lie.
const MAX_PART_BYTES: u64 = 64 * 1024 * 1024;
/// Word's own XML packs about thirty to one; a bomb packs a thousand to one.
const MAX_RATIO: u128 = 200;
/// Small files may pack well without being a threat.
const RATIO_MATTERS_FROM: u128 = 8 * 1024 * 1024;

/// # Errors
/// The archive or its XML is damaged, or it unpacks to an unreasonable size.
pub(super) fn read(bytes: &[u8]) -> Result<String, Refusal> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| Refusal::DamagedDocx)?;
    let declared = archive.decompressed_size().unwrap_or(u128::MAX);
    let packed = u128::try_from(bytes.len()).unwrap_or(u128::MAX).max(1);
    if declared > MAX_DECLARED_BYTES || (declared > RATIO_MATTERS_FROM && declared / packed > MAX_RATIO) {
        return Err(Refusal::ZipBomb);
    }
    let document = part(&mut archive, DOCX_BODY)?.ok_or(Refusal::DamagedDocx)?;
    let headings = match part(&mut archive, STYLES)? {
        Some(xml) => styles::headings(&xml)?,
        None => styles::Headings::default(),
    };
    Ok(tidy(&body::markdown(&document, &headings)?))
}

/// The text of a part, if there is such a part.
fn part(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Option<String>, Refusal> {
    if archive.index_for_name(name).is_none() {
        return Ok(None);
    }
    let file = archive.by_name(name).map_err(|_| Refusal::DamagedDocx)?;
    let mut bytes = Vec::new();
    file.take(MAX_PART_BYTES + 1).read_to_end(&mut bytes).map_err(|_| Refusal::DamagedDocx)?;
    if bytes.len() as u64 > MAX_PART_BYTES {
        return Err(Refusal::ZipBomb);
    }
    let text = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(unmarked) => unmarked.to_vec(),
        None => bytes,
    };
    String::from_utf8(text).map(Some).map_err(|_| Refusal::DamagedDocx)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    /// An archive of the named parts.
    fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in parts {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn document(body: &str) -> Vec<u8> {
        let xml = format!(
            r#"<?xml version="1.0"?><w:document xmlns:w="w" xmlns:mc="mc"><w:body>{body}</w:body></w:document>"#
        );
        let styles = br#"<w:styles xmlns:w="w">
            <w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
            <w:style w:styleId="Kapitel"><w:name w:val="Kapitel"/><w:basedOn w:val="berschrift1"/></w:style>
            <w:style w:styleId="Own"><w:name w:val="Own"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>
            <w:style w:styleId="Titel"><w:name w:val="Title"/></w:style>
        </w:styles>"#;
        archive(&[(DOCX_BODY, xml.as_bytes()), (STYLES, styles)])
    }

    fn paragraph(properties: &str, text: &str) -> String {
        format!("<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>")
    }

    #[test]
    fn headings_come_from_styles_in_any_language_and_from_outline_levels() {
        let body = [
            paragraph(r#"<w:pStyle w:val="Titel"/>"#, "Book"),
            paragraph(r#"<w:pStyle w:val="berschrift1"/>"#, "One"),
            paragraph(r#"<w:pStyle w:val="Kapitel"/>"#, "Two"),
            paragraph(r#"<w:pStyle w:val="Own"/>"#, "Three"),
            paragraph(r#"<w:outlineLvl w:val="1"/>"#, "Four"),
            paragraph("", "Plain &amp; &#x416;"),
        ];
        assert_eq!(
            read(&document(&body.concat())).unwrap(),
            "# Book\n\n# One\n\n# Two\n\n### Three\n\n## Four\n\nPlain & Ж"
        );
    }

    #[test]
    fn lists_and_tables_are_text() {
        let list = r#"<w:numPr><w:ilvl w:val="1"/><w:numId w:val="3"/></w:numPr>"#;
        let cell = |text: &str| format!("<w:tc>{}</w:tc>", paragraph("", text));
        let table = format!(
            "<w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl>",
            cell("a"),
            cell("b"),
            cell("c"),
            cell("d")
        );
        let body = format!("{}{table}{}", paragraph(list, "point"), paragraph("", "end"));
        assert_eq!(read(&document(&body)).unwrap(), "  - point\n\na | b\nc | d\n\nend");
    }

    #[test]
    fn what_word_does_not_show_is_not_read() {
        let body = "<w:p><w:r><w:t>kept</w:t><w:tab/><w:t>too</w:t></w:r>\
            <w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText></w:r>\
            <mc:AlternateContent><mc:Choice><w:r><w:t>once</w:t></w:r></mc:Choice>\
            <mc:Fallback><w:r><w:t>twice</w:t></w:r></mc:Fallback></mc:AlternateContent></w:p>";
        assert_eq!(read(&document(body)).unwrap(), "kept too once".replace(" once", "once"));
    }

    #[test]
    fn a_bomb_and_a_broken_file_are_refused() {
        let zeros = vec![b' '; 80 * 1024 * 1024];
        assert_eq!(read(&archive(&[(DOCX_BODY, &zeros)])), Err(Refusal::ZipBomb));
        assert_eq!(read(b"PK\x03\x04 nothing"), Err(Refusal::DamagedDocx));
        assert_eq!(read(&archive(&[("other.xml", b"<a/>")])), Err(Refusal::DamagedDocx));
        assert_eq!(read(&archive(&[(DOCX_BODY, b"<w:p><w:t>open")])), Err(Refusal::DamagedDocx));
    }
}
