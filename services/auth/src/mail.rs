//! Mails with sign-in links: written, queued, and sent by SMTP or into a folder.

mod folder;
mod post;
mod smtp;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use quire_clock::Timestamp;
use quire_identity::Origin;
use secrecy::{ExposeSecret, SecretString};

use crate::email::Email;

pub use folder::Folder;
pub use post::{Post, PostParts};
pub use smtp::{Smtp, SmtpUrlError};

/// Shows one line to whoever started the process. Set in development only: the line holds a sign-in link.
pub type Console = Arc<dyn Fn(&str) + Send + Sync>;

/// Sends a mail once.
#[async_trait::async_trait]
pub trait Mailer: Send + Sync {
    /// # Errors
    /// The mail did not leave; `retryable` says whether another try may help.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// A mail ready to leave.
pub struct Mail {
    pub id: String,
    pub at: Timestamp,
    pub message: Message,
}

/// Never holds an address or a link.
#[derive(Debug, thiserror::Error)]
#[error("the mail could not be sent: {what}")]
pub struct MailError {
    pub what: String,
    pub retryable: bool,
}

/// A link on its way to its reader. Has no `Debug`: it holds the link.
pub struct Letter {
    pub id: String,
    pub at: Timestamp,
    pub to: Email,
    pub link: SecretString,
    pub lifetime: Duration,
    /// For the audit log; empty while there is no account.
    pub user_id: String,
    pub origin: Origin,
}

impl Letter {
    /// The mail, in plain text.
    ///
    /// # Errors
    /// An address or header that lettre refuses.
    pub fn compose(&self, from: &Mailbox) -> Result<Mail, MailError> {
        let minutes = self.lifetime.as_secs().div_ceil(60);
        let (unit, link) = (if minutes == 1 { "minute" } else { "minutes" }, self.link.expose_secret());
        let text = format!(
            "Somebody asked to sign in to Quire with this address.\r\n\
             To go on, open this link:\r\n\r\n{link}\r\n\r\n\
             It works once, for {minutes} {unit}.\r\n\
             If it was not you, do nothing: without the link nobody gets in.\r\n"
        );
        let since_epoch = Duration::from_micros(u64::try_from(self.at.unix_micros()).unwrap_or(0));
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, self.to.address().clone()))
            .subject("Your sign-in link")
            .message_id(Some(format!("<{}@{}>", self.id, from.email.domain())))
            .date(SystemTime::UNIX_EPOCH + since_epoch)
            .header(ContentType::TEXT_PLAIN)
            // lettre folds lines from 76 characters on, which cuts the link in two for whoever reads the mail as
            // text. RFC 5322 section 2.1.1 allows 998, and Config::read keeps the link within it, in ASCII.
            .body(Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit))
            .map_err(|_| MailError { what: "it cannot be composed".to_owned(), retryable: false })?;
        Ok(Mail { id: self.id.clone(), at: self.at, message })
    }
}
