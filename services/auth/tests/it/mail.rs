//! What leaves by mail.

use quire_testkit::Backend;

use crate::harness::{Auth, Place, mails, seconds, token_of};
use crate::smtp::{MailServer, Manner};

#[tokio::test]
async fn a_mail_in_the_folder_carries_the_link_that_works() {
    let place = Place::new(Backend::Sqlite).await;
    let auth = Auth::start_with(&place, &[("QUIRE_PUBLIC_URL", "https://quire.example.org/")]).await;
    auth.request_link("Ada@example.org").await.unwrap();
    let line = auth.next_line().await;
    let link = line.strip_prefix("sign-in link for ada@example.org (code ").unwrap();
    let (code, link) = link.split_once("): ").unwrap();
    assert!(link.starts_with("https://quire.example.org/sign-in#token="), "{link}");
    place.clock.advance(seconds(1));
    auth.request_link("bob@example.org").await.unwrap();
    auth.next_line().await;

    let files = mails(&place);
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| file.extension().is_some_and(|extension| extension == "eml")));
    let mail = std::fs::read_to_string(&files[0]).unwrap();
    assert!(mail.contains("To: ada@example.org\r\n"), "{mail}");
    assert!(mail.contains("Subject: Your sign-in link\r\n"));
    assert!(mail.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"), "{mail}");
    assert!(mail.contains(&format!("\r\n{link}\r\n")), "the link stands whole on a line of its own: {mail}");
    assert!(mail.contains(&format!("\r\n{code}\r\n")), "so does the code: {mail}");
    assert!(std::fs::read_to_string(&files[1]).unwrap().contains("To: bob@example.org"));
    assert!(auth.verify(&token_of(&line)).await.is_ok());
    auth.stop().await;
}

#[tokio::test]
async fn with_a_mail_server_the_mail_goes_there_and_not_into_the_folder() {
    let server = MailServer::start().await;
    let place = Place::new(Backend::Sqlite).await;
    let auth = Auth::start_with(&place, &[("QUIRE_SMTP_URL", &server.url)]).await;
    auth.request_link("ada@example.org").await.unwrap();
    let mail = server.mail().await;
    let line = mail.lines().find(|line| line.contains("#token=")).unwrap();
    assert!(auth.verify(&token_of(line)).await.is_ok());
    assert!(!place.folder.path().join("mail").exists());
    auth.stop().await;
}

#[tokio::test]
async fn a_mail_that_the_server_refuses_is_a_failure_in_the_audit_log() {
    let server = MailServer::start().await;
    server.is_now(Manner::Refuses);
    let place = Place::new(Backend::Sqlite).await;
    let auth = Auth::start_with(&place, &[("QUIRE_SMTP_URL", &server.url)]).await;
    // The caller learns nothing of it.
    assert_eq!(auth.request_link("ada@example.org").await.unwrap(), 900);
    auth.next_line().await;
    // Stopping waits for the mails under way.
    auth.stop().await;
    let rows =
        "SELECT count(*) FROM audit_events WHERE action = 'magic_link.mailed' AND reason = 'MAIL_FAILED'";
    assert_eq!(place.number(rows).await, 1);
}
