//! From draft to delivered: orders, jobs, fences, outline and sections.

use quire_document::{PageRule, SpecRules, Writer};
use quire_fault::Kind;
use quire_proto::document::v1 as pb;
use quire_proto::document::v1::DocumentStatus;
use quire_testkit::Backend;
use tonic::Status;

use crate::house::{House, fault, fence, titled, violations};

quire_testkit::on_both_databases!(
    a_document_goes_from_draft_to_completed,
    a_job_cannot_report_backwards,
    an_old_epoch_and_another_job_are_fenced,
    one_job_at_a_time_has_the_document,
    a_late_report_takes_no_document_over,
    the_text_of_a_refunded_document_is_not_shown,
    the_text_of_a_delivered_part_is_shown,
    a_released_order_is_a_draft_again,
    a_model_needs_no_sources,
    who_may_step_in_is_shown_and_stays_with_the_order,
    wished_chapters_are_shown_until_an_outline_is_written,
    a_section_is_replaced_and_marked_as_written,
    a_new_outline_keeps_only_what_still_stands_in_it,
);

const TEXT: &str = r#"[{"type":"paragraph","inlines":[{"type":"text","text":"Paper."}]}]"#;

fn outline(chapters: &[(&str, &[(&str, &str)])]) -> pb::Outline {
    let section = |(key, title): &(&str, &str)| pb::OutlineSection {
        key: (*key).to_owned(),
        title: (*title).to_owned(),
        ..Default::default()
    };
    let chapter = |(title, sections): &(&str, &[(&str, &str)])| pb::OutlineChapter {
        title: (*title).to_owned(),
        sections: sections.iter().map(section).collect(),
    };
    pb::Outline { chapters: chapters.iter().map(chapter).collect() }
}

async fn put_outline(house: &House, id: &str, fence: pb::Fence, outline: pb::Outline) -> Result<(), Status> {
    let message = pb::PutOutlineRequest {
        document_id: id.to_owned(),
        fence: Some(fence),
        outline: Some(outline),
        proposed: false,
    };
    house.client.clone().put_outline(house.job(message)).await.map(|_| ())
}

async fn put_section(
    house: &House,
    id: &str,
    fence: pb::Fence,
    key: &str,
    blocks: &str,
) -> Result<(), Status> {
    let message = pb::PutSectionRequest {
        document_id: id.to_owned(),
        fence: Some(fence),
        key: key.to_owned(),
        blocks_json: blocks.to_owned(),
        writer: "digest".to_owned(),
    };
    house.client.clone().put_section(house.job(message)).await.map(|_| ())
}

async fn get_outline(house: &House, id: &str) -> pb::Outline {
    let message = pb::GetOutlineRequest { document_id: id.to_owned() };
    house.client.clone().get_outline(house.user("ada", message)).await.unwrap().into_inner().outline.unwrap()
}

async fn list_sections(house: &House, id: &str) -> Vec<pb::Section> {
    let message = pb::ListSectionsRequest { document_id: id.to_owned() };
    house.client.clone().list_sections(house.user("ada", message)).await.unwrap().into_inner().sections
}

fn written(outline: &pb::Outline) -> Vec<(&str, bool)> {
    let sections = outline.chapters.iter().flat_map(|chapter| &chapter.sections);
    sections.map(|section| (section.key.as_str(), section.written)).collect()
}

fn with_model() -> SpecRules {
    SpecRules { pages: PageRule::default(), writers: Writer::ALL.to_vec(), default_writer: Writer::OpenAi }
}

async fn a_document_goes_from_draft_to_completed(backend: Backend) {
    let house = House::open_with(backend, with_model()).await;
    let document = house.draft(12).await;
    let id = &document.id;
    assert_eq!(document.status(), DocumentStatus::Draft);
    assert_eq!(house.prepare("ada", id).await.unwrap().status(), DocumentStatus::PaymentPending);
    assert_eq!(house.prepare("ada", id).await.unwrap().status(), DocumentStatus::PaymentPending);
    house.attach(id, "job-1").await.unwrap();
    assert_eq!(house.status(id).await, DocumentStatus::Queued);
    assert_eq!(fault(house.prepare("ada", id).await).reason, "DOCUMENT_STATE");
    house.report(id, fence("job-1", 1), DocumentStatus::Generating).await.unwrap();
    assert_eq!(house.status(id).await, DocumentStatus::Generating);
    let early = fault(house.report(id, fence("job-1", 1), DocumentStatus::Completed).await);
    assert_eq!((early.kind, early.reason.as_str()), (Kind::Precondition, "EXPORT_MISSING"));
    house.put_export(id, fence("job-1", 1), pb::ExportFormat::Pdf, b"%PDF-").await.unwrap();
    house.report(id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    house.report(id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    let done = house.get("ada", id).await.unwrap();
    assert_eq!(
        (done.status(), done.counted_pages, done.failure.as_str()),
        (DocumentStatus::Completed, 12, "")
    );
    assert_eq!(done.job_id, "job-1");
}

async fn a_job_cannot_report_backwards(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(12).await;
    let id = &document.id;
    let orphan = fault(house.report(id, fence("job-1", 1), DocumentStatus::Generating).await);
    assert_eq!(orphan.reason, "JOB_FENCED", "no job is attached yet");
    house.attach(id, "job-1").await.unwrap();
    let skipped = fault(house.report(id, fence("job-1", 1), DocumentStatus::Completed).await);
    assert_eq!((skipped.kind, skipped.reason.as_str()), (Kind::Precondition, "DOCUMENT_STATE"));
    assert_eq!(skipped.metadata["status"], "queued");
    let foreign = violations(house.report(id, fence("job-1", 1), DocumentStatus::Draft).await);
    assert!(foreign[0].starts_with("status: Input should be 'generating'"), "{foreign:?}");
    house.report(id, fence("job-1", 1), DocumentStatus::Failed).await.unwrap();
    let failed = house.get("ada", id).await.unwrap();
    assert_eq!(
        (failed.status(), failed.failure.as_str()),
        (DocumentStatus::Failed, "the model did not answer")
    );
    let back = fault(house.report(id, fence("job-1", 2), DocumentStatus::Generating).await);
    assert_eq!(back.reason, "DOCUMENT_STATE");
    let late = put_outline(&house, id, fence("job-1", 2), outline(&[("A", &[])])).await;
    assert_eq!(fault(late).reason, "DOCUMENT_STATE");
}

async fn an_old_epoch_and_another_job_are_fenced(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.generating().await;
    let id = &document.id;
    let plan = || outline(&[("A", &[("1.1", "One")])]);
    put_outline(&house, id, fence("job-1", 2), plan()).await.unwrap();
    for refused in [
        fault(put_section(&house, id, fence("job-1", 1), "1.1", TEXT).await),
        fault(put_outline(&house, id, fence("job-1", 1), plan()).await),
        fault(put_section(&house, id, fence("job-2", 9), "1.1", TEXT).await),
        fault(put_section(&house, id, fence("job-1", 1), "1.1", "no blocks").await),
        fault(put_outline(&house, id, fence("job-1", 1), outline(&[])).await),
        fault(house.report(id, fence("job-2", 9), DocumentStatus::Cancelled).await),
        fault(house.put_export(id, fence("job-1", 1), pb::ExportFormat::Pdf, b"%PDF-").await),
    ] {
        assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Precondition, "JOB_FENCED"));
    }
    put_section(&house, id, fence("job-1", 2), "1.1", TEXT).await.unwrap();
    assert!(house.stored_files().is_empty());
    let unknown = fault(put_outline(&house, "no-such-id", fence("job-1", 1), plan()).await);
    assert_eq!(unknown.kind, Kind::NotFound);
}

async fn one_job_at_a_time_has_the_document(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(12).await;
    let id = &document.id;
    let (first, second) = tokio::join!(house.attach(id, "job-1"), house.attach(id, "job-2"));
    assert_eq!(first.is_ok(), second.is_err(), "exactly one of two jobs gets the document");
    let (winner, loser) = if first.is_ok() { ("job-1", second) } else { ("job-2", first) };
    assert_eq!(fault(loser).kind, Kind::Conflict);
    house.attach(id, winner).await.unwrap();
    house.report(id, fence(winner, 1), DocumentStatus::Failed).await.unwrap();
    house.attach(id, winner).await.unwrap();
    assert_eq!(house.status(id).await, DocumentStatus::Failed, "the same job again changes nothing");
    house.attach(id, "job-3").await.unwrap();
    let taken = house.get("ada", id).await.unwrap();
    assert_eq!((taken.status(), taken.failure.as_str()), (DocumentStatus::Queued, ""));
    assert_eq!(
        fault(house.report(id, fence(winner, 9), DocumentStatus::Generating).await).reason,
        "JOB_FENCED"
    );
}

async fn a_late_report_takes_no_document_over(backend: Backend) {
    let house = House::open(backend).await;
    for end in [DocumentStatus::Completed, DocumentStatus::Failed, DocumentStatus::Cancelled] {
        let id = &house.draft(12).await.id;
        house.attach_unwritten(id, "job-1").await.unwrap();
        house.report(id, fence("job-1", 1), DocumentStatus::Generating).await.unwrap();
        house.put_export(id, fence("job-1", 1), pb::ExportFormat::Pdf, b"%PDF-").await.unwrap();
        house.report(id, fence("job-1", 1), end).await.unwrap();
        house.attach_unwritten(id, "job-1").await.unwrap();
        let refused = fault(house.attach_unwritten(id, "job-2").await);
        assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Conflict, "DOCUMENT_HAS_JOB"));
        let kept = house.get("ada", id).await.unwrap();
        assert_eq!((kept.status(), kept.job_id.as_str()), (end, "job-1"));
        house.attach(id, "job-2").await.unwrap();
    }
}

async fn the_text_of_a_refunded_document_is_not_shown(backend: Backend) {
    let house = House::open(backend).await;
    for end in [DocumentStatus::Failed, DocumentStatus::Cancelled] {
        let id = &house.generating().await.id;
        put_outline(&house, id, fence("job-1", 1), outline(&[("A", &[("1.1", "One")])])).await.unwrap();
        put_section(&house, id, fence("job-1", 1), "1.1", TEXT).await.unwrap();
        assert_eq!(list_sections(&house, id).await.len(), 1);
        house.report(id, fence("job-1", 1), end).await.unwrap();
        assert_eq!(list_sections(&house, id).await, []);
    }
}

async fn the_text_of_a_delivered_part_is_shown(backend: Backend) {
    let house = House::open(backend).await;
    let id = &house.generating().await.id;
    let plan = outline(&[("A", &[("1.1", "One"), ("1.2", "Two")])]);
    put_outline(&house, id, fence("job-1", 1), plan).await.unwrap();
    put_section(&house, id, fence("job-1", 1), "1.1", TEXT).await.unwrap();
    house.put_export(id, fence("job-1", 1), pb::ExportFormat::Pdf, b"%PDF-").await.unwrap();
    house.report_pages(id, fence("job-1", 1), DocumentStatus::Cancelled, 3).await.unwrap();
    let keys: Vec<String> = list_sections(&house, id).await.into_iter().map(|section| section.key).collect();
    assert_eq!(keys, ["1.1"]);
    // A later job that delivers nothing gives its own text away no more than before.
    house.attach(id, "job-2").await.unwrap();
    house.report(id, fence("job-2", 1), DocumentStatus::Cancelled).await.unwrap();
    assert_eq!(list_sections(&house, id).await, []);
}

async fn a_released_order_is_a_draft_again(backend: Backend) {
    let house = House::open_with(backend, with_model()).await;
    let document = house.draft(12).await;
    let release = || {
        let message = pb::ReleaseOrderRequest { document_id: document.id.clone() };
        let request = house.service("payment", message);
        let mut client = house.client.clone();
        async move { client.release_order(request).await.unwrap() }
    };
    house.prepare("ada", &document.id).await.unwrap();
    release().await;
    assert_eq!(house.status(&document.id).await, DocumentStatus::Draft);
    house.attach(&document.id, "job-1").await.unwrap();
    release().await;
    assert_eq!(house.status(&document.id).await, DocumentStatus::Queued);
}

async fn who_may_step_in_is_shown_and_stays_with_the_order(backend: Backend) {
    let house = House::open_with(backend, with_model()).await;
    let names = |names: &[&str]| {
        Some(pb::WriterNames { names: names.iter().map(|name| (*name).to_owned()).collect() })
    };
    let spec = pb::DocumentSpec { fallback_writers: names(&["anthropic"]), ..titled("On paper") };
    let document = house.create("ada", spec).await.unwrap();
    assert_eq!(
        (document.writer.as_str(), document.fallback_writers),
        ("openai", vec!["anthropic".to_owned()])
    );
    let update = |spec| house.update("ada", &document.id, spec);
    let itself = pb::DocumentSpec { fallback_writers: names(&["openai"]), ..pb::DocumentSpec::default() };
    let refused = violations(update(itself).await);
    assert_eq!(refused, ["fallback_writers.0: Value error, openai is the writer itself"]);
    let none = pb::DocumentSpec { fallback_writers: names(&[]), ..pb::DocumentSpec::default() };
    let changed = update(none).await.unwrap();
    assert_eq!(changed.fallback_writers, Vec::<String>::new());
    let again = pb::DocumentSpec { fallback_writers: names(&["anthropic"]), ..pb::DocumentSpec::default() };
    update(again.clone()).await.unwrap();
    house.prepare("ada", &document.id).await.unwrap();
    let refused = update(pb::DocumentSpec { fallback_writers: names(&[]), ..again }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert_eq!(house.get("ada", &document.id).await.unwrap().fallback_writers, ["anthropic"]);
    house.attach(&document.id, "job-1").await.unwrap();
    let message = pb::GetBriefRequest { document_id: document.id.clone() };
    let brief = house.client.clone().get_brief(house.job(message)).await.unwrap().into_inner();
    assert_eq!(brief.document.unwrap().fallback_writers, ["anthropic"]);
}

async fn a_model_needs_no_sources(backend: Backend) {
    let house = House::open_with(backend, with_model()).await;
    let by_model = house.draft(900).await;
    assert_eq!(by_model.writer, "openai");
    house.prepare("ada", &by_model.id).await.unwrap();
    let digest = pb::DocumentSpec { writer: Some("digest".to_owned()), ..titled("Digest") };
    let digest = house.create("ada", digest).await.unwrap();
    let refused = violations(house.prepare("ada", &digest.id).await);
    assert!(refused[0].starts_with("sources: Value error, upload at least one source"), "{refused:?}");
    assert_eq!(house.status(&digest.id).await, DocumentStatus::Draft);
}

async fn wished_chapters_are_shown_until_an_outline_is_written(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(12).await;
    let id = &document.id;
    let wish = |titles: Vec<String>| {
        let message =
            pb::SetOutlineRequest { document_id: id.clone(), chapter_titles: titles, ..Default::default() };
        let request = house.user("ada", message);
        let mut client = house.client.clone();
        async move { client.set_outline(request).await }
    };
    let refused = violations(wish(vec!["Good".into(), String::new(), "x".repeat(201)]).await);
    assert_eq!(
        refused,
        [
            "chapter_titles.1: String should have at least 1 character",
            "chapter_titles.2: String should have at most 200 characters",
        ]
    );
    wish(vec!["Rags".into(), " Wood ".into()]).await.unwrap();
    assert_eq!(get_outline(&house, id).await, outline(&[("Rags", &[]), ("Wood", &[])]));
    house.attach(id, "job-1").await.unwrap();
    assert_eq!(fault(wish(vec![]).await).reason, "DOCUMENT_STATE");
    let message = pb::GetBriefRequest { document_id: id.clone() };
    let brief = house.client.clone().get_brief(house.job(message)).await.unwrap().into_inner();
    assert_eq!(brief.chapter_titles, ["Rags", "Wood"]);
    assert_eq!(brief.document.unwrap().id, *id);
    put_outline(&house, id, fence("job-1", 1), outline(&[("All", &[("1.1", "One")])])).await.unwrap();
    assert_eq!(get_outline(&house, id).await, outline(&[("All", &[("1.1", "One")])]));
}

async fn a_section_is_replaced_and_marked_as_written(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.generating().await;
    let id = &document.id;
    // Keys sort by the outline, not by their letters.
    let plan = outline(&[("A", &[("2", "Two"), ("10", "Ten"), ("1", "One")])]);
    put_outline(&house, id, fence("job-1", 1), plan).await.unwrap();
    for key in ["1", "10", "2", "2"] {
        put_section(&house, id, fence("job-1", 1), key, TEXT).await.unwrap();
    }
    let other = TEXT.replace("Paper", "Wood");
    put_section(&house, id, fence("job-1", 1), "10", &other).await.unwrap();
    let sections = list_sections(&house, id).await;
    let titles: Vec<&str> = sections.iter().map(|section| section.title.as_str()).collect();
    assert_eq!(titles, ["Two", "Ten", "One"]);
    assert_eq!(sections[1].blocks_json, other);
    assert_eq!(written(&get_outline(&house, id).await), [("2", true), ("10", true), ("1", true)]);
    let unplanned = violations(put_section(&house, id, fence("job-1", 1), "3", TEXT).await);
    assert_eq!(unplanned, ["key: Value error, the outline has no section with this key"]);
    let broken = violations(put_section(&house, id, fence("job-1", 1), "1", "[{}]").await);
    assert_eq!(broken, ["blocks_json: Value error, this is not a list of manuscript blocks"]);
}

async fn a_new_outline_keeps_only_what_still_stands_in_it(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.generating().await;
    let id = &document.id;
    let plan = outline(&[("A", &[("1.1", "One"), ("1.2", "Two")])]);
    put_outline(&house, id, fence("job-1", 1), plan.clone()).await.unwrap();
    for key in ["1.1", "1.2"] {
        put_section(&house, id, fence("job-1", 1), key, TEXT).await.unwrap();
    }
    put_outline(&house, id, fence("job-1", 2), plan.clone()).await.unwrap();
    assert_eq!(written(&get_outline(&house, id).await), [("1.1", true), ("1.2", true)]);
    let other = outline(&[("A", &[("1.1", "One"), ("1.2", "Other")])]);
    put_outline(&house, id, fence("job-1", 2), other.clone()).await.unwrap();
    assert_eq!(written(&get_outline(&house, id).await), [("1.1", true), ("1.2", false)]);
    house.report(id, fence("job-1", 2), DocumentStatus::Failed).await.unwrap();
    house.attach(id, "job-2").await.unwrap();
    put_outline(&house, id, fence("job-2", 1), other).await.unwrap();
    assert_eq!(written(&get_outline(&house, id).await), [("1.1", false), ("1.2", false)]);
}
