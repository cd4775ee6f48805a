//! The folder where the deployment puts its mails, when no mail server is set.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::{Verdict, wrong};

/// A mail leaves after the answer, so it may come late, but not this late.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// The alphabet of codes: Crockford's base32, which has no letter that looks like a digit.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// A code is two halves with a dash between them.
const HALF: usize = 4;

/// A folder of `.eml` files.
pub(crate) struct Mailbox {
    folder: PathBuf,
}

/// What was there at a moment.
pub(crate) struct Before(BTreeSet<PathBuf>);

/// What a mail lets its reader do. Has no `Debug`.
pub(crate) struct Letter {
    pub(crate) token: String,
    pub(crate) code: String,
}

impl Mailbox {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn now(&self) -> Before {
        Before(self.files())
    }

    /// The letter to that address that was not there before.
    pub(crate) async fn next(&self, email: &str, before: &Before) -> Verdict<Letter> {
        let looking = async {
            loop {
                let fresh = self.files().into_iter().filter(|path| !before.0.contains(path));
                let mails = fresh.filter_map(|path| std::fs::read(path).ok()).map(|mail| decoded(&mail));
                if let Some(mail) = mails.into_iter().find(|mail| mail.contains(email)) {
                    return mail;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let mail = tokio::time::timeout(PATIENCE, looking)
            .await
            .map_err(|_| wrong(format!("no mail came into the folder within {} s", PATIENCE.as_secs())))?;
        read(&mail).ok_or_else(|| wrong("the mail has no link with `#token=`, or no code"))
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        // The folder is made with the first mail.
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return BTreeSet::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "eml")).collect()
    }
}

fn read(mail: &str) -> Option<Letter> {
    // Headers have words of hexadecimal digits that look like codes.
    let (_, body) = mail.split_once("\n\n")?;
    let (_, rest) = body.split_once("#token=")?;
    let end = rest.find(|character: char| !is_of_token(character)).unwrap_or(rest.len());
    let token = rest[..end].to_owned();
    let words = body.split(|character: char| !is_of_token(character));
    let code = words.into_iter().find(|word| is_code(word))?.to_owned();
    (!token.is_empty()).then_some(Letter { token, code })
}

fn is_of_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

fn is_code(word: &str) -> bool {
    let half = |text: &str| text.len() == HALF && text.bytes().all(|byte| ALPHABET.contains(&byte));
    word.split_once('-').is_some_and(|(left, right)| half(left) && half(right))
}

/// The text of a mail, with plain line ends, and without quoted-printable (RFC 2045 section 6.7) if it is written in
/// it.
pub fn decoded(mail: &[u8]) -> String {
    let text = String::from_utf8_lossy(mail).replace("\r\n", "\n");
    if !text.to_lowercase().contains("content-transfer-encoding: quoted-printable") {
        return text;
    }
    let joined = text.replace("=\n", "");
    let mut pieces = joined.split('=');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&piece[2..]);
            }
            None => {
                plain.push('=');
                plain.push_str(piece);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_and_code_are_found_in_a_mail() {
        let mail = b"Message-ID: <0198a1b2-1234-5678-9ABC-DEF012345678@localhost>\r\n\
            To: attack-1@example.org\r\n\r\nOpen this link:\r\n\r\n\
            http://127.0.0.1:8080/sign-in#token=abc-DEF_9\r\n\r\nOr type this code: 7K3M-Q2XZ\r\n";
        let letter = read(&decoded(mail)).unwrap();
        assert_eq!((letter.token.as_str(), letter.code.as_str()), ("abc-DEF_9", "7K3M-Q2XZ"));
    }

    #[test]
    fn quoted_printable_is_undone() {
        let mail = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n\
            http://localhost/sign-in#token=3Dabc=\r\nDEF\r\n7K3M-Q2XZ\r\n";
        assert_eq!(read(&decoded(mail)).unwrap().token, "abcDEF");
    }

    #[test]
    fn a_mail_without_a_code_is_no_letter() {
        assert!(read("To: a\n\nhttp://localhost/sign-in#token=abc\nABCI-7777\nABCD-EFGH-JKMN\n").is_none());
    }
}
