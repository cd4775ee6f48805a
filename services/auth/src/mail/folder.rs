//! Mails as `.eml` files, for installations without a mail server.

use std::path::PathBuf;

use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::{Mail, MailError, Mailer};

/// Writes every mail into a folder, named so that names sort by time.
pub struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// The folder is made at the first mail.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whole files only: a reader never sees half a mail.
    async fn write(&self, mail: &Mail) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let hidden = self.folder.join(format!(".{}.part", mail.id));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // The file holds a sign-in link.
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&hidden).await?;
        file.write_all(&mail.message.formatted()).await?;
        file.sync_all().await?;
        let name = format!("{:016}-{}.eml", mail.at.unix_micros(), mail.id);
        fs::rename(&hidden, self.folder.join(name)).await
    }
}

#[async_trait::async_trait]
impl Mailer for Folder {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.write(mail).await.map_err(|error| MailError {
            what: format!("the mail folder cannot be written: {}", error.kind()),
            retryable: true,
        })
    }
}
