//! The folder where an installation without a mail server puts its mails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quire::attack::decoded;

use crate::wait::eventually;

/// The mails that are there now.
pub fn present(folder: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "eml")).collect()
}

/// The text of the mail to `email` that comes after those in `before`.
pub async fn next(folder: &Path, email: &str, before: &BTreeSet<PathBuf>) -> String {
    // As it is kept, and written in the mail.
    let address = email.trim().to_lowercase();
    eventually("a mail comes", || async {
        let fresh = present(folder).into_iter().filter(|path| !before.contains(path));
        let mails = fresh.filter_map(|path| std::fs::read(path).ok()).map(|mail| decoded(&mail));
        mails.into_iter().find(|mail| mail.contains(&address))
    })
    .await
}

/// The token in the fragment of the mail's link.
pub fn token(mail: &str) -> String {
    let (_, rest) = mail.split_once("#token=").unwrap_or_else(|| panic!("no link in the mail: {mail}"));
    rest.chars().take_while(|char| char.is_ascii_alphanumeric() || "-_".contains(*char)).collect()
}

/// The code, which stands alone in its line.
pub fn code(mail: &str) -> String {
    let is_code = |line: &&str| line.len() == 9 && line.as_bytes()[4] == b'-';
    mail.lines().find(is_code).unwrap_or_else(|| panic!("no code in the mail: {mail}")).to_owned()
}
