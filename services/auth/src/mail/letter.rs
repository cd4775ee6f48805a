//! What the mails say.

use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use quire_clock::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{Mail, MailError};
use crate::email::Email;
use crate::store::{alert, session, user};

/// A mail to its reader. Has no `Debug`: it may hold a link.
pub struct Letter {
    pub id: String,
    at: Timestamp,
    pub to: Email,
    subject: &'static str,
    /// In ASCII, with lines that end in CRLF.
    text: SecretString,
}

/// What a mail to sign in with is made of.
pub struct SignIn<'a> {
    pub id: String,
    pub at: Timestamp,
    pub to: Email,
    pub link: &'a str,
    pub code: &'a str,
    pub lifetime: Duration,
}

impl Letter {
    /// The link and the code.
    pub fn sign_in(mail: SignIn<'_>) -> Self {
        let SignIn { id, at, to, link, code, lifetime } = mail;
        let minutes = lifetime.as_secs().div_ceil(60);
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        let text = format!(
            "Somebody asked to sign in to Quire with this address.\r\n\
             To go on, open this link in the browser that asked for it:\r\n\r\n{link}\r\n\r\n\
             Are you reading this on another device? Then type this code where you asked:\r\n\r\n{code}\r\n\r\n\
             Either works once, for {minutes} {unit}.\r\n\
             If it was not you, do nothing, and give the code to nobody.\r\n"
        );
        Self { id, at, to, subject: "Your sign-in link", text: SecretString::from(text) }
    }

    /// Tells the owner of a session that it was ended because its refresh token came back. `None` if the address
    /// cannot be written to.
    pub fn reuse(alert: &alert::Model, user: &user::Model, session: &session::Model) -> Option<Self> {
        let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { ascii(text) };
        let began = Timestamp::from_unix_micros(session.created_at).rfc3339();
        let at = Timestamp::from_unix_micros(alert.happened_at);
        let text = format!(
            "A sign-in of yours to Quire was ended, because its refresh token was used a second time.\r\n\
             Either a program of yours kept an old token, or somebody has copied it.\r\n\r\n\
             The sign-in: {} ({}), begun {began} from {}.\r\n\
             The second use: {}, {} from {}.\r\n\r\n\
             Your other sign-ins go on. If you do not know this device, sign in and end them all\r\n\
             (DELETE /api/v1/auth/sessions).\r\n",
            or_unknown(&session.name),
            or_unknown(&session.user_agent),
            or_unknown(&session.client_address),
            or_unknown(&alert.user_agent),
            at.rfc3339(),
            or_unknown(&alert.client_address),
        );
        Some(Self {
            id: alert.id.clone(),
            at,
            to: Email::parse(&user.email).ok()?,
            subject: "A sign-in of yours was ended",
            text: SecretString::from(text),
        })
    }

    /// The mail, in plain text.
    ///
    /// # Errors
    /// An address or header that lettre refuses.
    pub fn compose(&self, from: &Mailbox) -> Result<Mail, MailError> {
        let since_epoch = Duration::from_micros(u64::try_from(self.at.unix_micros()).unwrap_or(0));
        let text = self.text.expose_secret().as_bytes().to_vec();
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, self.to.address().clone()))
            .subject(self.subject)
            .message_id(Some(format!("<{}@{}>", self.id, from.email.domain())))
            .date(SystemTime::UNIX_EPOCH + since_epoch)
            .header(ContentType::TEXT_PLAIN)
            // lettre folds lines from 76 characters on, which cuts the link in two for whoever reads the mail as
            // text. RFC 5322 section 2.1.1 allows 998, and Config::read keeps the link within it, in ASCII.
            .body(Body::dangerous_pre_encoded(text, ContentTransferEncoding::SevenBit))
            .map_err(|_| MailError { what: "it cannot be composed".to_owned(), retryable: false })?;
        Ok(Mail { id: self.id.clone(), at: self.at, message })
    }
}

/// Text that came from a client, fit to stand in a mail.
fn ascii(text: &str) -> String {
    let fit =
        |character: char| if character == ' ' || character.is_ascii_graphic() { character } else { '?' };
    text.chars().map(fit).take(200).collect()
}
