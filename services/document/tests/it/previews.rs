//! Outlines that are planned before the order: shown for as long as they fit.

use quire_fault::Kind;
use quire_proto::document::v1 as pb;
use quire_testkit::Backend;
use tonic::Status;

use crate::house::{House, fault, fence, titled, violations};

quire_testkit::on_both_databases!(
    a_preview_is_shown_while_the_document_is_described_as_it_was,
    a_preview_that_no_longer_fits_is_refused,
    a_job_that_has_the_document_has_its_outline_too,
    every_mistake_in_a_preview_is_reported_at_once,
);

fn outline(title: &str) -> pb::Outline {
    let section =
        pb::OutlineSection { key: "1.1".to_owned(), title: "Rags".to_owned(), ..Default::default() };
    pb::Outline { chapters: vec![pb::OutlineChapter { title: title.to_owned(), sections: vec![section] }] }
}

async fn brief(house: &House, id: &str) -> pb::GetBriefResponse {
    let message = pb::GetBriefRequest { document_id: id.to_owned() };
    house.client.clone().get_brief(house.job(message)).await.unwrap().into_inner()
}

async fn preview(house: &House, id: &str, revision: &str, outline: pb::Outline) -> Result<(), Status> {
    let message = pb::PreviewOutlineRequest {
        document_id: id.to_owned(),
        revision: revision.to_owned(),
        outline: Some(outline),
    };
    house.client.clone().preview_outline(house.job(message)).await.map(|_| ())
}

/// The titles of the chapters that are shown, and whether they are a preview's.
async fn shown(house: &House, id: &str) -> (Vec<String>, bool) {
    let message = pb::GetOutlineRequest { document_id: id.to_owned() };
    let answer = house.client.clone().get_outline(house.user("ada", message)).await.unwrap().into_inner();
    let chapters = answer.outline.unwrap().chapters;
    (chapters.into_iter().map(|chapter| chapter.title).collect(), answer.preview)
}

async fn wish(house: &House, id: &str, titles: &[&str]) {
    let chapter_titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let message = pb::SetOutlineRequest { document_id: id.to_owned(), chapter_titles, ..Default::default() };
    house.client.clone().set_outline(house.user("ada", message)).await.unwrap();
}

async fn a_preview_is_shown_while_the_document_is_described_as_it_was(backend: Backend) {
    let mut house = House::open(backend).await;
    let id = house.create("ada", titled("On paper")).await.unwrap().id;
    let first = brief(&house, &id).await;
    assert!(!first.previewed);
    preview(&house, &id, &first.revision, outline("Paper")).await.unwrap();
    let fits = (vec!["Paper".to_owned()], true);
    assert_eq!(shown(&house, &id).await, fits);
    assert!(brief(&house, &id).await.previewed);
    house.restart().await;
    assert_eq!(shown(&house, &id).await, fits);

    // Whatever an outline depends on.
    let changes = [
        (titled("On ink"), titled("On paper")),
        (
            pb::DocumentSpec { topic: Some("Soot".to_owned()), ..Default::default() },
            pb::DocumentSpec { topic: Some(String::new()), ..Default::default() },
        ),
        (
            pb::DocumentSpec { language: Some("de".to_owned()), ..Default::default() },
            pb::DocumentSpec { language: Some("en".to_owned()), ..Default::default() },
        ),
        (
            pb::DocumentSpec { target_pages: Some(77), ..Default::default() },
            pb::DocumentSpec { target_pages: Some(50), ..Default::default() },
        ),
    ];
    for (change, back) in changes {
        house.update("ada", &id, change.clone()).await.unwrap();
        assert_eq!(shown(&house, &id).await, (Vec::new(), false), "{change:?}");
        assert!(!brief(&house, &id).await.previewed);
        house.update("ada", &id, back).await.unwrap();
        assert_eq!(shown(&house, &id).await, fits, "{change:?}");
    }
    wish(&house, &id, &["My own"]).await;
    assert_eq!(shown(&house, &id).await, (vec!["My own".to_owned()], false));
    wish(&house, &id, &[]).await;
    let source = house.upload(&id, "a.txt", b"Rags and more rags.").await.unwrap();
    assert_eq!(shown(&house, &id).await, (Vec::new(), false));
    let message = pb::DeleteSourceRequest { document_id: id.clone(), source_id: source.id };
    house.client.clone().delete_source(house.user("ada", message)).await.unwrap();
    assert_eq!(shown(&house, &id).await, fits);
    // A wish for a review changes nothing about the plan.
    let review = pb::DocumentSpec { review_outline: Some(true), ..Default::default() };
    house.update("ada", &id, review).await.unwrap();
    assert_eq!(shown(&house, &id).await, fits);
}

async fn a_preview_that_no_longer_fits_is_refused(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.create("ada", titled("On paper")).await.unwrap().id;
    let before = brief(&house, &id).await.revision;
    house.update("ada", &id, titled("On ink")).await.unwrap();
    let refused = fault(preview(&house, &id, &before, outline("Paper")).await);
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Precondition, "DOCUMENT_CHANGED"));
    assert_eq!(shown(&house, &id).await, (Vec::new(), false));
    let missing = fault(preview(&house, "no-such-document", &before, outline("Paper")).await);
    assert_eq!(missing.reason, "DOCUMENT_NOT_FOUND");
}

async fn a_job_that_has_the_document_has_its_outline_too(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.create("ada", titled("On paper")).await.unwrap().id;
    let revision = brief(&house, &id).await.revision;
    preview(&house, &id, &revision, outline("Paper")).await.unwrap();
    house.attach(&id, "job-1").await.unwrap();
    assert_eq!(shown(&house, &id).await, (vec!["Paper".to_owned()], true), "until there is its own");
    let refused = fault(preview(&house, &id, &revision, outline("Late")).await);
    assert_eq!(refused.reason, "DOCUMENT_STATE");
    let message = pb::PutOutlineRequest {
        document_id: id.clone(),
        fence: Some(fence("job-1", 1)),
        outline: Some(outline("Written")),
        proposed: false,
    };
    house.client.clone().put_outline(house.job(message)).await.unwrap();
    assert_eq!(shown(&house, &id).await, (vec!["Written".to_owned()], false));
}

async fn every_mistake_in_a_preview_is_reported_at_once(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.create("ada", titled("On paper")).await.unwrap().id;
    let refused = preview(&house, &id, "", pb::Outline::default()).await;
    assert_eq!(violations(refused), ["revision: Field required", "outline.chapters: Field required"]);
    let message = pb::PreviewOutlineRequest { document_id: id, ..Default::default() };
    let refused = house.client.clone().preview_outline(house.user("ada", message)).await;
    assert_eq!(fault(refused).kind, Kind::Unauthenticated);
}
