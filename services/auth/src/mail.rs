//! Mails: written, queued, and sent by SMTP or into a folder.

mod folder;
mod letter;
mod post;
mod smtp;

use std::sync::Arc;

use lettre::Message;
use quire_clock::Timestamp;

pub use folder::Folder;
pub use letter::{Letter, SignIn};
pub use post::{Outgoing, Post, PostParts};
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
