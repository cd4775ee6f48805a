//! Reads plain text and Markdown in the encodings that occur.

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::Refusal;
use super::tidy::tidy;

/// UTF-8 with or without a mark, UTF-16 with a mark, else Windows-1252 where every byte is assigned.
///
/// # Errors
/// [`Refusal::NotText`] for anything else, such as a picture with a wrong name.
pub(super) fn read(bytes: &[u8]) -> Result<String, Refusal> {
    let text = decode(bytes).ok_or(Refusal::NotText)?;
    let binary = text.chars().any(
        |character| matches!(character, '\0'..='\u{8}' | '\u{e}'..='\u{1a}' | '\u{1c}'..='\u{1f}' | '\u{7f}'),
    );
    if binary { Err(Refusal::NotText) } else { Ok(tidy(&text)) }
}

fn decode(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        [0xff, 0xfe, rest @ ..] => {
            UTF_16LE.decode_without_bom_handling_and_without_replacement(rest).map(Into::into)
        }
        [0xfe, 0xff, rest @ ..] => {
            UTF_16BE.decode_without_bom_handling_and_without_replacement(rest).map(Into::into)
        }
        _ => std::str::from_utf8(bytes).map(str::to_owned).ok().or_else(|| windows_1252(bytes)),
    }
}

/// Five bytes of the code page are not assigned; the decoder turns them into C1 controls.
fn windows_1252(bytes: &[u8]) -> Option<String> {
    let text = WINDOWS_1252.decode_without_bom_handling_and_without_replacement(bytes)?;
    let assigned = !text.chars().any(|character| matches!(character, '\u{80}'..='\u{9f}'));
    assigned.then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_encoding_gives_the_same_text() {
        let expected = "Gruß – “Ж”";
        let utf16: Vec<u16> = expected.encode_utf16().collect();
        let little: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(utf16.iter().flat_map(|unit| unit.to_le_bytes())).collect();
        let big: Vec<u8> =
            [0xfe, 0xff].into_iter().chain(utf16.iter().flat_map(|unit| unit.to_be_bytes())).collect();
        let marked = [b"\xef\xbb\xbf", expected.as_bytes()].concat();
        for bytes in [expected.as_bytes().to_vec(), marked, little, big] {
            assert_eq!(read(&bytes).as_deref(), Ok(expected));
        }
        assert_eq!(read(b"Gru\xdf \x96 \x93x\x94").as_deref(), Ok("Gruß – “x”"));
    }

    #[test]
    fn binary_files_are_no_text() {
        assert_eq!(read(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), Err(Refusal::NotText));
        assert_eq!(read(b"caf\x81"), Err(Refusal::NotText));
        assert_eq!(read(b"\xff\xfe\x00\xd8"), Err(Refusal::NotText));
    }
}
