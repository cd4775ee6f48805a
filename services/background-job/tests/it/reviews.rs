//! Outlines that their customers want to approve: the job rests meanwhile, and writes what they made of it.

use std::time::Duration;

use quire_clock::World;
use quire_fault::Fault;
use quire_proto::document::v1 as doc;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tonic::{Code, Status};

use crate::model::{FakeModel, willing};
use crate::replay::replay;
use crate::stage::{DOCUMENT, OWNER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_job_rests_after_its_plan_and_writes_the_outline_as_it_was_changed,
    a_job_that_is_resumed_is_approved,
    an_outline_that_nobody_answers_is_written_as_it_is,
    a_job_that_waits_for_its_outline_can_be_cancelled,
    an_approval_that_comes_before_the_rest_is_heard,
    a_digest_quotes_for_the_changed_outline,
    a_digest_without_any_section_left_fails_with_the_reason,
    what_cannot_be_approved_is_refused_with_the_reason,
    a_failed_job_goes_on_with_the_approved_outline,
);

async fn reviewed(stage: Stage) -> Stage {
    stage.document.brief.lock().unwrap().document.as_mut().unwrap().review_outline = true;
    stage
}

async fn model_stage(backend: Backend) -> Stage {
    reviewed(Stage::openai(backend, FakeModel::start(willing).await).await).await
}

pub async fn approve(service: &mut Service, user: &str) -> Result<pb::Job, Status> {
    let request = service.as_user(user, pb::ApproveOutlineRequest { document_id: DOCUMENT.to_owned() });
    Ok(service.client.approve_outline(request).await?.into_inner().job.unwrap())
}

fn section(key: &str, title: &str) -> doc::OutlineSection {
    doc::OutlineSection { key: key.to_owned(), title: title.to_owned(), ..Default::default() }
}

fn chapter(title: &str, sections: Vec<doc::OutlineSection>) -> doc::OutlineChapter {
    doc::OutlineChapter { title: title.to_owned(), sections }
}

fn sent(stage: &Stage) -> Vec<String> {
    let told = stage.document.told.lock().unwrap();
    let mut keys: Vec<String> = told.sections.iter().map(|sent| sent.key.clone()).collect();
    keys.sort();
    keys
}

/// The last outline that the document service was told, as titles of chapters and keys.
fn told(stage: &Stage) -> Vec<(String, Vec<String>)> {
    let told = stage.document.told.lock().unwrap();
    let keys =
        |chapter: &doc::OutlineChapter| chapter.sections.iter().map(|section| section.key.clone()).collect();
    let chapters = &told.outlines.last().unwrap().chapters;
    chapters.iter().map(|chapter| (chapter.title.clone(), keys(chapter))).collect()
}

async fn a_job_rests_after_its_plan_and_writes_the_outline_as_it_was_changed(backend: Backend) {
    let stage = model_stage(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let resting = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&resting, "paused")[0]["reason"], "outline_review");
    let job = service.job(&job_id).await;
    assert_eq!((job.status(), job.pause_reason.as_str()), (JobStatus::Paused, "outline_review"));
    assert_eq!((job.attempt, job.sections_total), (0, 4));
    let model = stage.model.as_ref().unwrap();
    assert_eq!((model.all_calls(), stage.document.told.lock().unwrap().proposed), (1, 1));
    service.stop().await;

    // 1.1 goes, 2.2 comes first under another name, and one is new.
    *stage.document.edited.lock().unwrap() = Some(doc::Outline {
        chapters: vec![
            chapter("Ink", vec![section("2.2", "Linseed"), section("2.1", "Soot")]),
            chapter("Sheets", vec![section("1.2", "Wood"), section("2.3", "Parchment")]),
        ],
    });
    let mut service = stage.start().await;
    let approved = approve(&mut service, OWNER).await.unwrap();
    assert_ne!(approved.status(), JobStatus::Paused);
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let approval = &of_kind(&events, "outline_approved")[0];
    let counted = ["chapters", "sections", "left_out"].map(|field| approval[field].as_i64().unwrap());
    assert_eq!(counted, [2, 4, 0]);
    assert_eq!(sent(&stage), ["1.2", "2.1", "2.2", "2.3"]);
    let sections = |keys: [&str; 2]| keys.map(str::to_owned).to_vec();
    let expected =
        [("Ink".to_owned(), sections(["2.2", "2.1"])), ("Sheets".to_owned(), sections(["1.2", "2.3"]))];
    assert_eq!(told(&stage), expected);
    assert_eq!((model.calls("outline"), model.calls("1.1"), model.calls("2.3")), (1, 0, 1));
    let prompts = model.requests().iter().map(ToString::to_string).collect::<Vec<_>>();
    let new = prompts.iter().find(|prompt| prompt.contains("Write section 2.3 ")).unwrap();
    assert!(new.contains("Parchment") && new.contains("of chapter \\\"Sheets\\\""), "{new}");
    assert!(new.contains("about 323 words"), "the words of the document are shared out anew: {new}");
    let done = service.job(&job_id).await;
    assert_eq!((done.attempt, done.sections_done, done.sections_total), (1, 4, 4));
    assert_eq!(approve(&mut service, OWNER).await.unwrap(), done, "approving again changes nothing");
    assert!(replay(&stage, &mut service, &job_id).await.unwrap().reproduced, "from the changed outline");
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Delivered);
}

async fn a_job_that_is_resumed_is_approved(backend: Backend) {
    let stage = model_stage(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "paused", 1).await;
    let request = service.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.clone() });
    service.client.resume_job(request).await.unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "resumed").len(), 1);
    assert_eq!((sent(&stage).len(), stage.document.told.lock().unwrap().taken), (4, 1));
}

async fn an_outline_that_nobody_answers_is_written_as_it_is(backend: Backend) {
    let stage = model_stage(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "paused", 1).await;
    service.stop().await;
    // In time: it goes on waiting.
    let mut service = stage.start().await;
    let other = service.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    service.wait_for(&other, "paused", 1).await;
    assert_eq!(service.job(&job_id).await.status(), JobStatus::Paused);
    service.stop().await;
    let mut service =
        stage.start_with(World::system(), |config| config.outline_review = Duration::ZERO).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
}

async fn a_job_that_waits_for_its_outline_can_be_cancelled(backend: Backend) {
    let stage = model_stage(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(service.cancel(&job_id).await.status(), JobStatus::Cancelled);
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Cancelled, 0));
    assert_eq!(approve(&mut service, OWNER).await.unwrap().status(), JobStatus::Cancelled);
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), 1);
}

async fn an_approval_that_comes_before_the_rest_is_heard(backend: Backend) {
    let stage = model_stage(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let job = loop {
        match approve(&mut service, OWNER).await {
            Ok(job) => break job,
            Err(status) => assert_eq!(Fault::from(&status).reason, "OUTLINE_NOT_READY"),
        }
    };
    assert_eq!(job.id, job_id);
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(sent(&stage).len(), 4);
}

async fn a_digest_quotes_for_the_changed_outline(backend: Backend) {
    let stage = reviewed(Stage::digest(backend).await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "paused", 1).await;
    let proposed = stage.document.told.lock().unwrap().outlines[0].clone();
    let first = proposed.chapters[0].sections[0].clone();
    let chapters = vec![
        chapter("Humidity", vec![section("1.90", "Keeping paper dry"), section("1.91", "Glue and thread")]),
        chapter("What stays", vec![first.clone()]),
    ];
    *stage.document.edited.lock().unwrap() = Some(doc::Outline { chapters });
    approve(&mut service, OWNER).await.unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let left_out = of_kind(&events, "outline_approved")[0]["left_out"].as_u64().unwrap();
    let written = sent(&stage);
    assert_eq!(u64::try_from(written.len()).unwrap() + left_out, 3);
    assert!(written.contains(&"1.90".to_owned()) && written.contains(&first.key), "{written:?}");
    let mut kept: Vec<String> = told(&stage).into_iter().flat_map(|(_, keys)| keys).collect();
    kept.sort();
    assert_eq!(kept, written, "the document service knows what was left out");
    let told = stage.document.told.lock().unwrap();
    let dry = told.sections.iter().find(|sent| sent.key == "1.90").unwrap();
    assert!(dry.blocks_json.contains("quote"), "{}", dry.blocks_json);
}

async fn a_digest_without_any_section_left_fails_with_the_reason(backend: Backend) {
    let stage = reviewed(Stage::digest(backend).await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "paused", 1).await;
    // The real document service accepts no such outline.
    *stage.document.edited.lock().unwrap() = Some(doc::Outline::default());
    approve(&mut service, OWNER).await.unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "nothing_to_quote");
}

async fn what_cannot_be_approved_is_refused_with_the_reason(backend: Backend) {
    let stage = model_stage(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let reason = |answer: Result<pb::Job, Status>| {
        let status = answer.unwrap_err();
        (status.code(), Fault::from(&status).reason)
    };
    let expected = |reason: &str| (Code::FailedPrecondition, reason.to_owned());
    assert_eq!(reason(approve(&mut service, OWNER).await), expected("OUTLINE_NOT_READY"));
    let job_id = service.start_paid().await;
    stage.document.brief.lock().unwrap().document.as_mut().unwrap().job_id = job_id;
    assert_eq!(reason(approve(&mut service, OWNER).await), expected("OUTLINE_NOT_READY"));
    assert_eq!(reason(approve(&mut service, "stranger").await).0, Code::NotFound);
    stage.document.brief.lock().unwrap().document.as_mut().unwrap().review_outline = false;
    assert_eq!(reason(approve(&mut service, OWNER).await), expected("OUTLINE_NOT_REVIEWED"));
}

async fn a_failed_job_goes_on_with_the_approved_outline(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("2.9", 1) => crate::model::Reply::Refuses(400, None),
        _ => willing(asked, number),
    });
    let stage = reviewed(Stage::openai(backend, model.await).await).await;
    let mut service = stage.start().await;
    let failed = service.start_paid().await;
    service.wait_for(&failed, "paused", 1).await;
    let chapters = vec![chapter("All", vec![section("1.1", "Rags"), section("2.9", "Parchment")])];
    *stage.document.edited.lock().unwrap() = Some(doc::Outline { chapters });
    approve(&mut service, OWNER).await.unwrap();
    assert_whole(&service.events(&failed, 0).await, 1, "failed");
    let mut request = tonic::Request::new(pb::RetryJobRequest { job_id: failed });
    stage.sign("operator", &mut request);
    let job_id = service.client.retry_job(request).await.unwrap().into_inner().job.unwrap().id;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(told(&stage), [("All".to_owned(), vec!["1.1".to_owned(), "2.9".to_owned()])]);
    let model = stage.model.as_ref().unwrap();
    assert_eq!(["outline", "1.1", "2.9"].map(|asked| model.calls(asked)), [1, 1, 2]);
}
