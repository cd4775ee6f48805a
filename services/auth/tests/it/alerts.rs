//! Mails that tell an owner that a session was ended: they outlive the process and the mail server's bad days.

use quire_serve::metrics::Metrics;
use quire_testkit::Backend;

use crate::harness::{Auth, Place, SECRET, mails, reason, seconds, token_of};
use crate::smtp::{MailServer, Manner};

quire_testkit::on_both_databases!(
    an_alert_waits_for_the_mail_server_over_a_restart,
    an_alert_that_nobody_will_take_is_given_up,
    two_relays_send_an_alert_once,
);

const SUBJECT: &str = "A sign-in of yours was ended";
const WAITING: &str = "SELECT count(*) FROM alerts";
const NOTED: &str = "SELECT count(*) FROM audit_events WHERE action = 'session.reuse_mailed'";

/// Signs in with a mailed link and lets the first refresh token come back too late.
async fn reuse(place: &Place, auth: &Auth, link: &str) {
    let pair = auth.verify(&token_of(link)).await.unwrap().tokens.unwrap();
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.me(&next.access_token).await.unwrap();
    place.clock.advance(seconds(11));
    assert_eq!(reason(auth.refresh(&pair.refresh_token).await), "REFRESH_TOKEN_REUSED");
}

fn link_in(mail: &str) -> &str {
    mail.lines().find(|line| line.contains("#token=")).unwrap()
}

async fn an_alert_waits_for_the_mail_server_over_a_restart(backend: Backend) {
    let place = Place::new(backend).await;
    let server = MailServer::start().await;
    let settings = [("QUIRE_SMTP_URL", server.url.as_str())];
    let auth = Auth::start_with(&place, &settings).await;
    auth.request_link("ada@example.org").await.unwrap();
    let mail = server.mail().await;
    server.is_now(Manner::Busy);
    reuse(&place, &auth, link_in(&mail)).await;
    server.turned_away().await;
    auth.stop().await;
    assert_eq!((place.number(WAITING).await, place.number(NOTED).await), (1, 0));

    let auth = Auth::start_with(&place, &settings).await;
    server.is_now(Manner::Takes);
    // Past the wait before the next try, and past the lease of a relay that could not give the alert back.
    place.clock.advance(seconds(120));
    let mail = server.mail().await;
    assert!(mail.contains(SUBJECT) && mail.contains("To: ada@example.org\r\n"), "{mail}");
    assert!(mail.contains("203.0.113.7") && mail.contains("Browser/1.0"), "{mail}");
    auth.stop().await;
    assert_eq!((place.number(WAITING).await, place.number(NOTED).await), (0, 1));
}

async fn an_alert_that_nobody_will_take_is_given_up(backend: Backend) {
    let place = Place::new(backend).await;
    let server = MailServer::start().await;
    let metrics = Metrics::default();
    let mut config = place.config(true, SECRET, &[("QUIRE_SMTP_URL", server.url.as_str())]);
    config.metrics = metrics.clone();
    let auth = Auth::start_config(&place, config).await;
    auth.request_link("ada@example.org").await.unwrap();
    let mail = server.mail().await;
    server.is_now(Manner::Refuses);
    reuse(&place, &auth, link_in(&mail)).await;
    // Stopping lets what is due be tried a last time.
    auth.stop().await;
    let dead = "SELECT count(*) FROM alerts WHERE dead_at IS NOT NULL AND last_error LIKE '%554%'";
    assert_eq!((place.number(WAITING).await, place.number(dead).await), (1, 1));
    assert_eq!(place.number(&format!("{NOTED} AND reason = 'MAIL_FAILED'")).await, 1);
    let text = metrics.text().unwrap();
    assert!(text.contains("quire_auth_mails_total{kind=\"alert\",outcome=\"failed\"} 1\n"), "{text}");

    // Nor is it tried again.
    server.is_now(Manner::Takes);
    place.clock.advance(seconds(86_400));
    Auth::start_with(&place, &[("QUIRE_SMTP_URL", server.url.as_str())]).await.stop().await;
    assert_eq!(place.number(dead).await, 1);
}

async fn two_relays_send_an_alert_once(backend: Backend) {
    let place = Place::new(backend).await;
    let one = Auth::start(&place).await;
    // It answers, so the tables are there.
    one.keys().await;
    let two = Auth::start(&place).await;
    two.keys().await;
    one.request_link("ada@example.org").await.unwrap();
    let link = one.next_line().await;
    reuse(&place, &one, &link).await;
    tokio::join!(one.stop(), two.stop());
    let mails = mails(&place);
    let mails = mails.iter().map(|file| std::fs::read_to_string(file).unwrap());
    assert_eq!(mails.filter(|mail| mail.contains(SUBJECT)).count(), 1);
    assert_eq!((place.number(WAITING).await, place.number(NOTED).await), (0, 1));
}
