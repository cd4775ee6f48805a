//! `quire attack`: it passes where nothing is wrong, and finds every hole that a deployment can have.

mod gate;
mod model;
mod puppet;

use std::collections::BTreeSet;
use std::path::Path;

use futures::StreamExt;
use quire::attack::{Options, Outcome, Report};
use quire_clock::World;
use quire_testkit::Backend;

use crate::system::System;
use model::Hole;
use puppet::Puppet;

quire_testkit::on_both_databases!(quire_itself_holds);

/// Every scenario that the command runs.
const ROWS: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23, 24, 25];
/// So few that no difference can be significant: the clock decides in one test only.
const FEW: usize = 4;
/// Of the model deployments, which are mostly waited for.
const AT_ONCE: usize = 4;

fn options(url: &str, mail_dir: &Path) -> Options {
    Options { mail_dir: Some(mail_dir.to_owned()), samples: FEW, ..Options::new(url, World::system()) }
}

fn text_of(report: &Report) -> String {
    report.lines.iter().map(|line| format!("{line}\n")).collect()
}

fn rows_with(report: &Report, outcome: Outcome) -> BTreeSet<u8> {
    report.lines.iter().filter(|line| line.outcome == outcome).map(|line| line.row).collect()
}

async fn quire_itself_holds(backend: Backend) {
    // Small enough to be used up, large enough for all scenarios before that.
    let settings = [
        ("QUIRE_LIMIT_MAGIC_LINK", "60/minute"),
        ("QUIRE_LIMIT_VERIFY", "1000/minute"),
        ("QUIRE_MAIL_LIMIT", "1000/hour"),
    ];
    let system = System::start(backend, &settings).await;
    let options = Options {
        admin_email: Some(crate::system::OPERATOR.to_owned()),
        samples: 40,
        ..options(&system.embedded.urls.gateway, &system.embedded.mail_dir())
    };
    let report = quire::attack::run(options).await.unwrap();
    let text = text_of(&report);
    assert!(report.held(), "{text}");
    let skipped = report.lines.iter().filter(|line| line.outcome == Outcome::Skip);
    let skipped: Vec<&str> = skipped.map(|line| line.what.as_str()).collect();
    // Links live a quarter of an hour.
    assert_eq!(skipped, ["an expired link is refused as an unknown one"], "{text}");
    assert_eq!(rows_with(&report, Outcome::Pass), BTreeSet::from(ROWS), "{text}");
    system.stop().await;
}

async fn attack_model(hole: Hole, samples: usize) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let url = model::start(hole, folder.path().to_owned()).await;
    let options =
        Options { admin_email: Some(model::OPERATOR.to_owned()), samples, ..options(&url, folder.path()) };
    quire::attack::run(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_holes_holds() {
    let report = attack_model(Hole::None, FEW).await;
    let text = text_of(&report);
    assert!(report.held(), "{text}");
    assert_eq!(report.count(Outcome::Skip), 1, "{text}");
    assert_eq!(rows_with(&report, Outcome::Pass), BTreeSet::from(ROWS), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hole_is_found_in_its_scenario_and_nowhere_else() {
    let holes: [(Hole, &[u8]); 28] = [
        (Hole::TakesAlgNone, &[1]),
        (Hole::PublicKeyIsSecret, &[2]),
        (Hole::ChecksNoSignature, &[1, 3, 4, 7]),
        (Hole::UnknownKeyIs500, &[5, 7]),
        (Hole::TrustsJwk, &[6]),
        (Hole::FetchesKeys, &[6]),
        (Hole::LenientBase64, &[7]),
        (Hole::BrokenTokenIs500, &[7]),
        (Hole::IgnoresType, &[8]),
        (Hole::NoChallenge, &[1, 2, 3, 4, 5, 6, 7, 8, 18, 19, 20, 21]),
        (Hole::NoReason, &ROWS),
        (Hole::LinkIsRaced, &[18]),
        (Hole::PageConsumes, &[19]),
        (Hole::PageSetsCookie, &[19]),
        (Hole::NoVerifierNeeded, &[19]),
        (Hole::WrongVerifierBurns, &[19]),
        (Hole::TellsUsedLinks, &[20]),
        (Hole::CodesWithoutEnd, &[21]),
        (Hole::VoidCodeLeavesLink, &[21]),
        (Hole::GuessingLocksAccount, &[21]),
        (Hole::TellsKnownAddress, &[22]),
        (Hole::BlockedGetNoAnswer, &[22]),
        (Hole::BlockedGetIn, &[22]),
        (Hole::LimitLetsOneMore, &[23]),
        (Hole::LimitIsSilent, &[23, 24, 25]),
        (Hole::NoLimit, &[23, 24, 25]),
        (Hole::BelievesForwardedFor, &[24, 25]),
        (Hole::CountsForTheNamed, &[25]),
    ];
    let attacks = futures::stream::iter(holes).map(|(hole, rows)| async move {
        let report = attack_model(hole, FEW).await;
        let expected: BTreeSet<u8> = rows.iter().copied().collect();
        let found = rows_with(&report, Outcome::Fail);
        (found != expected).then(|| format!("{hole:?}: {found:?}, not {expected:?}\n{}", text_of(&report)))
    });
    let missed: Vec<Option<String>> = attacks.buffer_unordered(AT_ONCE).collect().await;
    let missed: Vec<String> = missed.into_iter().flatten().collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_longer_for_known_addresses_is_found() {
    let report = attack_model(Hole::KnownAddressIsSlow, 25).await;
    assert_eq!(rows_with(&report, Outcome::Fail), BTreeSet::from([22]), "{}", text_of(&report));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_header_that_names_an_address_is_tried() {
    let report = attack_model(Hole::BelievesRealIp, FEW).await;
    let failed = report.lines.iter().filter(|line| line.outcome == Outcome::Fail);
    let failed: Vec<&str> = failed.map(|line| line.what.as_str()).collect();
    assert_eq!(
        failed,
        ["limited all the same: X-Real-IP, True-Client-IP and CF-Connecting-IP"],
        "{}",
        text_of(&report)
    );
}

/// With its mails, and with its tokens.
async fn attack_puppet(puppet: Puppet) -> [Report; 2] {
    let folder = tempfile::tempdir().unwrap();
    let started = puppet::start(puppet, folder.path().to_owned()).await;
    let with_mail =
        Options { admin_email: Some(model::OPERATOR.to_owned()), ..options(&started.url, folder.path()) };
    let with_tokens = Options {
        access_token: Some(started.access),
        refresh_token: Some(started.refresh),
        mail_dir: None,
        ..with_mail.clone()
    };
    [quire::attack::run(with_mail).await.unwrap(), quire::attack::run(with_tokens).await.unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_yes_to_everything_fails_every_scenario() {
    let [with_mail, _] = attack_puppet(Puppet::YesWithMail).await;
    assert_eq!(rows_with(&with_mail, Outcome::Fail), BTreeSet::from(ROWS), "{}", text_of(&with_mail));
    let [with_mail, with_tokens] = attack_puppet(Puppet::Yes).await;
    assert_eq!(rows_with(&with_mail, Outcome::Fail), BTreeSet::from(ROWS), "{}", text_of(&with_mail));
    // Without a mailbox, scenarios 18 to 22 cannot be tried.
    let expected: BTreeSet<u8> = ROWS.into_iter().filter(|row| !(18..=22).contains(row)).collect();
    assert_eq!(rows_with(&with_tokens, Outcome::Fail), expected, "{}", text_of(&with_tokens));
    let skipped = BTreeSet::from([8, 18, 19, 20, 21, 22]);
    assert_eq!(rows_with(&with_tokens, Outcome::Skip), skipped, "{}", text_of(&with_tokens));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_everything_fails_every_scenario() {
    for puppet in [Puppet::Unauthorized, Puppet::Broken] {
        let [with_mail, with_tokens] = attack_puppet(puppet).await;
        assert_eq!(rows_with(&with_mail, Outcome::Fail), BTreeSet::from(ROWS), "{}", text_of(&with_mail));
        let expected: BTreeSet<u8> = ROWS.into_iter().filter(|row| !(18..=22).contains(row)).collect();
        assert_eq!(rows_with(&with_tokens, Outcome::Fail), expected, "{}", text_of(&with_tokens));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_shows_no_secret() {
    // The answers of this one hold tokens where none belong.
    let [with_mail, with_tokens] = attack_puppet(Puppet::YesWithMail).await;
    for report in [with_mail, with_tokens] {
        let text = text_of(&report);
        for secret in ["eyJ", "7K3M", "token=", "verifier\""] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
    }
}

#[tokio::test]
async fn an_attack_without_means_or_target_is_an_error() {
    let error = quire::attack::run(Options::new("http://127.0.0.1:9", World::system())).await.unwrap_err();
    assert!(error.to_string().contains("--mail-dir"), "{error}");
    for url in ["127.0.0.1:8080", "ftp://127.0.0.1", "http://127.0.0.1:9", "http://127.0.0.1/?a=b"] {
        let options = options(url, Path::new("/tmp"));
        assert!(quire::attack::run(options).await.is_err(), "{url}");
    }
}
