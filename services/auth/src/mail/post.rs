//! The queue between a request for a link and its mail.
//!
//! It is kept in memory, unlike alerts: the token of a link and its code exist in clear nowhere else, and must not be
//! stored. A mail that is lost in a crash is asked for again by its reader.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use quire_identity::Origin;
use quire_limit::{Limiter, RouteLimit};
use sea_orm::DbErr;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::audit::{self, Attempt};
use crate::change::{Change, Refused, Step, Writer};
use crate::magic_links::mail_keys;
use crate::metrics::{AuthMetrics, MailKind, MailOutcome};

use super::{Console, Letter, Mail, MailError, Mailer};

/// Mails that may wait.
const WAITING: usize = 256;
/// Mails on their way at once.
const AT_ONCE: usize = 8;
/// Pauses before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// After the shutdown, waiting mails have this long to leave.
const DRAIN: Duration = Duration::from_secs(5);

/// Takes sign-in mails. Cheap to clone.
#[derive(Clone)]
pub struct Post(mpsc::Sender<Outgoing>);

/// A place in the queue, held while the request is still being decided.
pub struct Place<'a>(mpsc::Permit<'a, Outgoing>);

/// A sign-in mail, counted against the limits of its reader, and what is known of whoever asked for it.
pub struct Outgoing {
    pub letter: Letter,
    /// What a console shows in place of a mailbox.
    pub console: SecretString,
    /// For the audit log; empty while there is no account.
    pub user_id: String,
    pub origin: Origin,
}

/// What the sending side needs.
pub struct PostParts {
    pub mailer: Arc<dyn Mailer>,
    pub from: Mailbox,
    pub writer: Writer,
    pub limiter: Limiter,
    pub limit: RouteLimit,
    pub console: Option<Console>,
    pub metrics: AuthMetrics,
}

impl Post {
    /// Starts sending, until the shutdown. The future ends when the last mail has left or is given up.
    pub fn start(parts: PostParts, shutdown: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), run(Arc::new(parts), receiver, shutdown))
    }

    /// A place for one letter; `None` if too many are waiting.
    pub fn reserve(&self) -> Option<Place<'_>> {
        self.0.try_reserve().ok().map(Place)
    }
}

impl Place<'_> {
    pub fn send(self, mail: Outgoing) {
        self.0.send(mail);
    }
}

async fn run(parts: Arc<PostParts>, mut mails: mpsc::Receiver<Outgoing>, shutdown: CancellationToken) {
    let mut sending = Sending { parts, slots: Arc::new(Semaphore::new(AT_ONCE)), under_way: JoinSet::new() };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            mail = mails.recv() => match mail {
                Some(mail) => sending.dispatch(mail).await,
                None => break,
            },
        }
    }
    mails.close();
    let rest = async {
        while let Some(mail) = mails.recv().await {
            sending.dispatch(mail).await;
        }
        while let Some(ended) = sending.under_way.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(DRAIN, rest).await.is_err() {
        tracing::warn!("mails were still waiting when the process ended");
    }
}

/// Mails on their way.
struct Sending {
    parts: Arc<PostParts>,
    slots: Arc<Semaphore>,
    under_way: JoinSet<()>,
}

impl Sending {
    /// Waits for a free slot, then sends beside the queue: one slow mail does not hold up the others.
    async fn dispatch(&mut self, mail: Outgoing) {
        while let Some(ended) = self.under_way.try_join_next() {
            report(ended);
        }
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let parts = self.parts.clone();
        let span = tracing::info_span!("mail", id = %mail.letter.id, request_id = %mail.origin.request_id);
        let work = async move {
            deliver(&parts, &mail).await;
            drop(slot);
        };
        self.under_way.spawn(work.instrument(span));
    }
}

/// A panic while sending one mail must be seen, and must not stop the others.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(panicked = error.is_panic(), "a mail was lost");
    }
}

/// Sends one mail and records how it went.
async fn deliver(parts: &PostParts, mail: &Outgoing) {
    let shown = || {
        if let Some(console) = &parts.console {
            console(mail.console.expose_secret());
        }
    };
    let outcome = send(parts, &mail.letter, shown).await;
    let (user_id, origin) = (mail.user_id.clone(), mail.origin.clone());
    let recorded = match &outcome {
        Ok(()) => {
            parts.metrics.mail(MailKind::SignIn, MailOutcome::Sent);
            parts.writer.commit(Mailed { user_id, origin }).await
        }
        Err(error) => {
            tracing::error!(error = %error, "a mail was given up");
            parts.metrics.mail(MailKind::SignIn, MailOutcome::Failed);
            // What never left must not keep its reader from asking again.
            parts.limiter.give_back(&parts.limit, &mail_keys(&mail.letter.to)).await;
            let (action, reason) = (audit::LINK_MAILED, "MAIL_FAILED");
            parts.writer.commit(Refused { action, user_id, origin, reason }).await
        }
    };
    if let Err(error) = recorded {
        quire_fault::log_internal("auth", &error);
    }
}

struct Mailed {
    user_id: String,
    origin: Origin,
}

#[async_trait::async_trait]
impl Change for Mailed {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        let attempt = Attempt { action: audit::LINK_MAILED, user_id: &self.user_id, ..Attempt::default() };
        step.record(&self.origin, attempt, "");
        Ok(())
    }
}

/// Up to three tries. `shown` runs after the first one, so that whoever waits for the console finds the mail.
async fn send(parts: &PostParts, letter: &Letter, shown: impl FnOnce()) -> Result<(), MailError> {
    let mail = letter.compose(&parts.from)?;
    let first = parts.mailer.send(&mail).await;
    shown();
    retry(parts.mailer.as_ref(), &mail, first, PAUSES).await
}

async fn retry(
    mailer: &dyn Mailer,
    mail: &Mail,
    first: Result<(), MailError>,
    pauses: [Duration; 2],
) -> Result<(), MailError> {
    let mut outcome = first;
    for pause in pauses {
        match &outcome {
            Err(error) if error.retryable => tracing::warn!(error = %error, "a mail is tried again"),
            _ => break,
        }
        tokio::time::sleep(pause).await;
        outcome = mailer.send(mail).await;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use quire_clock::Timestamp;

    use super::*;
    use crate::email::Email;
    use crate::mail::SignIn;

    /// Answers with the outcomes given, last one first, and counts the tries.
    struct Scripted(Mutex<(Vec<Result<(), MailError>>, usize)>);

    #[async_trait::async_trait]
    impl Mailer for Scripted {
        async fn send(&self, _: &Mail) -> Result<(), MailError> {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            state.0.pop().unwrap_or(Ok(()))
        }
    }

    fn failure(retryable: bool) -> Result<(), MailError> {
        Err(MailError { what: "test".to_owned(), retryable })
    }

    async fn tries(outcomes: Vec<Result<(), MailError>>) -> (bool, usize) {
        let letter = Letter::sign_in(SignIn {
            id: "1".to_owned(),
            at: Timestamp::from_unix_seconds(1_700_000_000),
            to: Email::parse("ada@example.org").unwrap(),
            link: "http://localhost/sign-in#token=x",
            code: "ABCD-2345",
            lifetime: Duration::from_secs(900),
        });
        let mail = letter.compose(&"Quire <no-reply@example.org>".parse().unwrap()).unwrap();
        let mailer = Scripted(Mutex::new((outcomes, 0)));
        let first = mailer.send(&mail).await;
        let sent = retry(&mailer, &mail, first, [Duration::ZERO; 2]).await.is_ok();
        let tries = mailer.0.lock().unwrap().1;
        (sent, tries)
    }

    #[tokio::test]
    async fn a_mail_is_tried_three_times_and_no_more() {
        assert_eq!(tries(vec![]).await, (true, 1));
        assert_eq!(tries(vec![failure(true), failure(true)]).await, (true, 3));
        assert_eq!(tries(vec![failure(true), failure(true), failure(true)]).await, (false, 3));
    }

    #[tokio::test]
    async fn what_can_never_be_delivered_is_not_tried_again() {
        assert_eq!(tries(vec![failure(false)]).await, (false, 1));
    }
}
