//! Outlines that wait for their customer: shown, changed, taken by the job, and then closed.

use quire_proto::document::v1 as pb;
use quire_proto::document::v1::DocumentStatus;
use quire_testkit::Backend;
use tonic::Status;

use crate::house::{House, fault, fence, titled, violations};

quire_testkit::on_both_databases!(
    the_wish_for_a_review_is_kept_with_the_document,
    a_proposed_outline_is_changed_until_the_job_takes_it,
    every_mistake_in_a_changed_outline_is_reported_at_once,
    an_outline_that_waits_for_nobody_is_not_changed,
    an_old_epoch_takes_no_outline,
);

fn section(key: &str, title: &str, brief: &str) -> pb::OutlineSection {
    pb::OutlineSection {
        key: key.to_owned(),
        title: title.to_owned(),
        brief: brief.to_owned(),
        words: 700,
        written: false,
    }
}

fn chapter(title: &str, sections: &[pb::OutlineSection]) -> pb::OutlineChapter {
    pb::OutlineChapter { title: title.to_owned(), sections: sections.to_vec() }
}

fn proposal() -> Vec<pb::OutlineChapter> {
    vec![
        chapter(
            "Paper",
            &[section("1.1", "Rags", "Rags before 1800."), section("1.2", "Wood", "Wood since.")],
        ),
        chapter("Ink", &[section("2.1", "Soot", "Lamp black.")]),
    ]
}

async fn propose(house: &House, id: &str, fence: pb::Fence) -> Result<(), Status> {
    let message = pb::PutOutlineRequest {
        document_id: id.to_owned(),
        fence: Some(fence),
        outline: Some(pb::Outline { chapters: proposal() }),
        proposed: true,
    };
    house.client.clone().put_outline(house.job(message)).await.map(|_| ())
}

async fn take(house: &House, id: &str, fence: pb::Fence) -> Result<pb::Outline, Status> {
    let message = pb::TakeOutlineRequest { document_id: id.to_owned(), fence: Some(fence) };
    Ok(house.client.clone().take_outline(house.job(message)).await?.into_inner().outline.unwrap())
}

async fn change(house: &House, id: &str, chapters: Vec<pb::OutlineChapter>) -> Result<pb::Outline, Status> {
    let message = pb::SetOutlineRequest { document_id: id.to_owned(), chapters, ..Default::default() };
    let answer = house.client.clone().set_outline(house.user("ada", message)).await?;
    Ok(answer.into_inner().outline.unwrap())
}

async fn shown(house: &House, id: &str) -> (pb::Outline, bool) {
    let message = pb::GetOutlineRequest { document_id: id.to_owned() };
    let answer = house.client.clone().get_outline(house.user("ada", message)).await.unwrap().into_inner();
    (answer.outline.unwrap(), answer.awaits_approval)
}

async fn the_wish_for_a_review_is_kept_with_the_document(backend: Backend) {
    let house = House::open(backend).await;
    let spec = pb::DocumentSpec { review_outline: Some(true), ..titled("On paper") };
    let document = house.create("ada", spec).await.unwrap();
    assert!(document.review_outline);
    let update = |spec| house.update("ada", &document.id, spec);
    assert!(update(titled("On ink")).await.unwrap().review_outline, "absent fields stay");
    let off = pb::DocumentSpec { review_outline: Some(false), ..Default::default() };
    assert!(!update(off.clone()).await.unwrap().review_outline);
    house.attach(&document.id, "job-1").await.unwrap();
    assert_eq!(fault(update(off).await).reason, "DOCUMENT_STATE", "it is frozen with the order");
    let message = pb::GetBriefRequest { document_id: document.id.clone() };
    let brief = house.client.clone().get_brief(house.job(message)).await.unwrap().into_inner();
    assert!(!brief.document.unwrap().review_outline);
}

async fn a_proposed_outline_is_changed_until_the_job_takes_it(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.generating().await;
    let id = &document.id;
    propose(&house, id, fence("job-1", 1)).await.unwrap();
    assert_eq!(shown(&house, id).await, (pb::Outline { chapters: proposal() }, true));

    let asked = vec![
        chapter(" Ink ", &[section("2.1", "Soot", ""), section("", "Oil", "")]),
        chapter("Paper", &[section("1.2", "Pulp", "")]),
    ];
    let changed = change(&house, id, asked).await.unwrap();
    let expected = pb::Outline {
        chapters: vec![
            chapter(
                "Ink",
                // It has no words of its own yet, and 1.1 stays the key of what was removed.
                &[
                    section("2.1", "Soot", "Lamp black."),
                    pb::OutlineSection { words: 0, ..section("1.3", "Oil", "") },
                ],
            ),
            chapter("Paper", &[section("1.2", "Pulp", "")]),
        ],
    };
    assert_eq!(changed, expected);
    assert_eq!(shown(&house, id).await, (expected.clone(), true));
    // A job that proposes again after a crash takes nothing back.
    propose(&house, id, fence("job-1", 2)).await.unwrap();
    assert_eq!(shown(&house, id).await, (expected.clone(), true));

    assert_eq!(take(&house, id, fence("job-1", 2)).await.unwrap(), expected);
    assert_eq!(take(&house, id, fence("job-1", 3)).await.unwrap(), expected, "as often as need be");
    assert_eq!(shown(&house, id).await, (expected.clone(), false));
    assert_eq!(fault(change(&house, id, proposal()).await).reason, "DOCUMENT_STATE");
    propose(&house, id, fence("job-1", 3)).await.unwrap();
    assert_eq!(shown(&house, id).await, (expected, false));
}

async fn every_mistake_in_a_changed_outline_is_reported_at_once(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.generating().await;
    let id = &document.id;
    propose(&house, id, fence("job-1", 1)).await.unwrap();
    let asked = vec![
        chapter("", &[section("1.1", "Rags", ""), section("1.1", "a\0b", "")]),
        chapter("Ink", &[]),
        chapter("Size", &[section("7", "Glue", "")]),
    ];
    assert_eq!(
        violations(change(&house, id, asked).await),
        [
            "chapters.0.title: String should have at least 1 character",
            "chapters.0.sections.1.key: Value error, another section has this key",
            "chapters.0.sections.1.title: Value error, control characters are not accepted",
            "chapters.1.sections: Field required",
            "chapters.2.sections.0.key: Value error, the outline has no section with this key: leave it out for a new one",
        ]
    );
    assert_eq!(violations(change(&house, id, Vec::new()).await), ["chapters: Field required"]);
    let both = pb::SetOutlineRequest {
        document_id: id.clone(),
        chapter_titles: vec!["Paper".to_owned()],
        chapters: proposal(),
    };
    let refused = violations(house.client.clone().set_outline(house.user("ada", both)).await);
    assert_eq!(refused, ["chapters: Value error, give chapter_titles or chapters, not both"]);
    assert_eq!(shown(&house, id).await, (pb::Outline { chapters: proposal() }, true));
}

async fn an_outline_that_waits_for_nobody_is_not_changed(backend: Backend) {
    let house = House::open(backend).await;
    let draft = house.draft(6).await;
    let refused = fault(change(&house, &draft.id, proposal()).await);
    assert_eq!((refused.reason.as_str(), refused.metadata["status"].as_str()), ("DOCUMENT_STATE", "draft"));
    let document = house.generating().await;
    let id = &document.id;
    propose(&house, id, fence("job-1", 1)).await.unwrap();
    let titles = pb::SetOutlineRequest {
        document_id: id.clone(),
        chapter_titles: vec!["Paper".to_owned()],
        ..Default::default()
    };
    let refused = house.client.clone().set_outline(house.user("ada", titles)).await;
    assert_eq!(fault(refused).reason, "DOCUMENT_STATE");
    let stranger =
        pb::SetOutlineRequest { document_id: id.clone(), chapters: proposal(), ..Default::default() };
    let refused = house.client.clone().set_outline(house.user("eve", stranger)).await;
    assert_eq!(fault(refused).reason, "DOCUMENT_NOT_FOUND");
    house.report(id, fence("job-1", 1), DocumentStatus::Cancelled).await.unwrap();
    assert!(!shown(&house, id).await.1, "nobody waits any more");
    assert_eq!(fault(change(&house, id, proposal()).await).reason, "DOCUMENT_STATE");
}

async fn an_old_epoch_takes_no_outline(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.generating().await;
    let id = &document.id;
    assert_eq!(fault(take(&house, id, fence("job-1", 1)).await).reason, "DOCUMENT_STATE");
    propose(&house, id, fence("job-1", 2)).await.unwrap();
    assert_eq!(fault(take(&house, id, fence("job-1", 1)).await).reason, "JOB_FENCED");
    assert_eq!(fault(take(&house, id, fence("job-2", 9)).await).reason, "JOB_FENCED");
    assert!(shown(&house, id).await.1);
}
