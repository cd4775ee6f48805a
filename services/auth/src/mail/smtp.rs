//! Mails by SMTP.

use std::time::Duration;

use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error as SmtpError};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{Mail, MailError, Mailer};

/// For one try, the connection included.
const DEADLINE: Duration = Duration::from_secs(10);

/// Sends through a mail server; connections are kept for the next mail.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

/// The text is not an SMTP URL. It is not shown, as it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "write smtps://user:password@host:465 (TLS), smtp://user:password@host:587?tls=required (STARTTLS) or \
     smtp://host:1025 (plain)"
)]
pub struct SmtpUrlError;

impl Smtp {
    /// Needs a tokio runtime: the connection pool has a task of its own.
    ///
    /// # Errors
    /// The text is not an SMTP URL.
    pub fn new(url: &SecretString) -> Result<Self, SmtpUrlError> {
        Ok(Self { transport: builder(url)?.timeout(Some(DEADLINE)).build() })
    }

    /// Only looks at the text.
    ///
    /// # Errors
    /// The text is not an SMTP URL.
    pub fn check(url: &SecretString) -> Result<(), SmtpUrlError> {
        builder(url).map(|_| ())
    }
}

fn builder(url: &SecretString) -> Result<AsyncSmtpTransportBuilder, SmtpUrlError> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret()).map_err(|_| SmtpUrlError)
}

#[async_trait::async_trait]
impl Mailer for Smtp {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = mail.message.formatted();
        match timeout(DEADLINE, self.transport.send_raw(mail.message.envelope(), &message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(MailError { what: describe(&error), retryable: !error.is_permanent() }),
            Err(_) => {
                Err(MailError { what: "the mail server did not answer in time".to_owned(), retryable: true })
            }
        }
    }
}

/// What happened, without the server's own words, which often repeat the address.
fn describe(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None if error.is_tls() => "no secure connection to the mail server".to_owned(),
        None => "the mail server cannot be reached".to_owned(),
    }
}
