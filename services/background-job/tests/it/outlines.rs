//! Outlines before the order: jobs that only plan, and the order's job that goes on from their plan.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_fault::Fault;
use quire_proto::document::v1 as doc;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::Barrier;
use tonic::{Code, Request, Status};

use crate::model::{FakeModel, KEYS, OUTLINE, Reply, willing};
use crate::replay::replay;
use crate::stage::{DOCUMENT, OWNER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    an_outline_is_planned_and_shown_before_the_order,
    the_orders_job_goes_on_from_the_plan,
    a_document_that_is_described_anew_is_planned_anew,
    a_plan_in_parts_is_gone_on_with_by_the_order,
    an_order_waits_for_the_plan_that_is_being_made,
    asking_while_the_open_one_ends_is_always_answered,
    only_so_many_outlines_a_day_are_planned_however_many_ask_at_once,
    an_outline_that_fails_or_is_cancelled_leaves_the_document_alone,
    who_may_not_have_an_outline_is_told_why,
);

pub async fn outline(service: &mut Service, user: &str, document_id: &str) -> Result<pb::Job, Status> {
    let request = service.as_user(user, pb::GenerateOutlineRequest { document_id: document_id.to_owned() });
    Ok(service.client.generate_outline(request).await?.into_inner().job.unwrap())
}

async fn steps(stage: &Stage, service: &mut Service, job_id: &str) -> Vec<pb::JobStep> {
    let mut request = Request::new(pb::GetJobTimelineRequest { job_id: job_id.to_owned() });
    stage.sign("operator", &mut request);
    service.client.get_job_timeline(request).await.unwrap().into_inner().steps
}

/// As if its owner had changed the title.
fn describe(stage: &Stage, title: &str) {
    let mut brief = stage.document.brief.lock().unwrap();
    brief.document.as_mut().unwrap().title = title.to_owned();
    brief.revision = format!("revision of {title}");
    brief.previewed = false;
}

fn reason(refused: &Status) -> (Code, String) {
    (refused.code(), Fault::from(refused).reason)
}

async fn an_outline_is_planned_and_shown_before_the_order(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start().await;
    let job = outline(&mut service, OWNER, DOCUMENT).await.unwrap();
    assert_eq!((job.purpose(), job.order_id.as_str()), (pb::JobPurpose::Outline, ""));
    let events = service.events(&job.id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "planned")[0]["sections"], 4);
    assert_eq!(of_kind(&events, "section_started").len(), 0);
    {
        let told = stage.document.told.lock().unwrap();
        let (revision, shown) = &told.previews[0];
        assert_eq!((told.previews.len(), revision.as_str()), (1, "revision of Paper and ink"));
        let titles: Vec<&str> = shown.chapters.iter().map(|chapter| chapter.title.as_str()).collect();
        assert_eq!(titles, ["Paper", "Ink"]);
        assert!(told.attached.is_empty() && told.outlines.is_empty(), "the document has no job");
    }
    let done = service.job(&job.id).await;
    assert_eq!((done.status(), done.percent, done.counted_pages), (JobStatus::Completed, 100, 0));
    assert_eq!(outline(&mut service, OWNER, DOCUMENT).await.unwrap(), done, "it is there");
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), 1);
    let replayed = replay(&stage, &mut service, &job.id).await.unwrap();
    assert!(replayed.reproduced, "{replayed:?}");
}

async fn the_orders_job_goes_on_from_the_plan(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start().await;
    let planned = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    service.events(&planned, 0).await;
    // However long ago that was: what is no longer needed is deleted meanwhile.
    service.stop().await;
    let mut service =
        stage.start_with(World::system(), |config| config.events_retention = Duration::ZERO).await;
    while !stage.rows("job_events", &["job_id"], "job_id").await.is_empty() {}
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let model = stage.model.as_ref().unwrap();
    assert_eq!((model.calls("outline"), KEYS.map(|key| model.calls(key))), (1, [1; 4]));
    let steps = steps(&stage, &mut service, &job_id).await;
    let plan = steps.iter().find(|step| step.key == "plan").unwrap();
    assert_eq!((plan.taken_from.as_str(), plan.input_tokens, plan.output_tokens), (&*planned, 0, 0));
    assert!(steps.iter().all(|step| step.key == "plan" || step.taken_from.is_empty()));
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Delivered);
    assert_eq!(
        stage.document.told.lock().unwrap().outlines.len(),
        1,
        "the document gets it from its own job"
    );
}

async fn a_document_that_is_described_anew_is_planned_anew(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start().await;
    let first = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    service.events(&first, 0).await;
    describe(&stage, "Ink");
    let second = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    assert_ne!(second, first);
    assert_whole(&service.events(&second, 0).await, 1, "completed");
    let model = stage.model.as_ref().unwrap();
    assert_eq!(model.calls("outline"), 2);
    // As it was at first: that plan is shown again, and no model is asked.
    describe(&stage, "Paper and ink");
    let third = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    assert_whole(&service.events(&third, 0).await, 1, "completed");
    assert_eq!(model.calls("outline"), 2);
    assert_eq!(steps(&stage, &mut service, &third).await[0].taken_from, first);
    assert!(
        replay(&stage, &mut service, &third).await.unwrap().reproduced,
        "from the first job's recordings"
    );
    assert_eq!(stage.document.told.lock().unwrap().previews.len(), 3);

    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(model.calls("outline"), 2);
    assert!(replay(&stage, &mut service, &job_id).await.unwrap().reproduced);
}

async fn a_plan_in_parts_is_gone_on_with_by_the_order(backend: Backend) {
    // Its first answer is no outline, which is kept as a draft; then nothing comes.
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("outline", 1) => Reply::says("I would rather not."),
        ("outline", 2) => Reply::Refuses(503, Some("600")),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let planned = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    service.wait_for(&planned, "retrying", 1).await;
    let drafted = steps(&stage, &mut service, &planned).await;
    assert_eq!(drafted.iter().map(|step| step.status.as_str()).collect::<Vec<_>>(), ["drafted"]);
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let ended = service.job(&planned).await;
    assert_eq!(ended.status(), JobStatus::Cancelled, "the order's job plans now");
    let model = stage.model.as_ref().unwrap();
    assert_eq!(model.calls("outline"), 3, "from where the other one was");
    assert!(replay(&stage, &mut service, &job_id).await.unwrap().reproduced, "with the calls of both");
    assert!(stage.document.told.lock().unwrap().previews.is_empty());
}

async fn an_order_waits_for_the_plan_that_is_being_made(backend: Backend) {
    let (release, released) = tokio::sync::watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("outline", 1) => Reply::Waits(String::new(), released.clone(), OUTLINE.to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let planned = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    let model = stage.model.clone().unwrap();
    model.was_asked("outline").await;
    let job_id = service.start_paid().await;
    let waiting = service.wait_for(&job_id, "retrying", 1).await;
    assert_eq!(of_kind(&waiting, "retrying")[0]["reason"], "the outline is being planned");
    release.send(true).unwrap();
    assert_whole(&service.events(&planned, 0).await, 1, "completed");
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(model.calls("outline"), 1);
}

/// Who meets an open job that ends at that moment gets it or a new one, and no error.
async fn asking_while_the_open_one_ends_is_always_answered(backend: Backend) {
    const ROUNDS: usize = 20;
    const ASKING: usize = 8;
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let service = stage.start_with(World::system(), |config| config.outlines_per_day = 10_000).await;
    for round in 0..ROUNDS {
        describe(&stage, &format!("Paper {round}"));
        let gate = Arc::new(Barrier::new(ASKING));
        let asks = (0..ASKING).map(|_| {
            let (mut client, gate) = (service.client.clone(), gate.clone());
            let ask = move || pb::GenerateOutlineRequest { document_id: DOCUMENT.to_owned() };
            let requests: Vec<_> = (0..ROUNDS).map(|_| service.as_user(OWNER, ask())).collect();
            tokio::spawn(async move {
                gate.wait().await;
                for request in requests {
                    client.generate_outline(request).await.unwrap();
                }
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap();
        }
    }
    let planned = stage.model.as_ref().unwrap().calls("outline");
    assert!((1..=ROUNDS).contains(&planned), "no description is planned twice: {planned}");
}

async fn only_so_many_outlines_a_day_are_planned_however_many_ask_at_once(backend: Backend) {
    const ASKED: usize = 20;
    let stage = Stage::digest(backend).await;
    let settings = |config: &mut quire_background_job::Config| {
        config.concurrency = 0;
        config.outlines_per_day = 3;
    };
    let mut service = stage.start_with(World::system(), settings).await;
    let gate = Arc::new(Barrier::new(ASKED));
    let asks = (0..ASKED).map(|number| {
        let document_id = format!("document-{number}");
        let request = service.as_user(OWNER, pb::GenerateOutlineRequest { document_id });
        let (mut client, gate) = (service.client.clone(), gate.clone());
        tokio::spawn(async move {
            gate.wait().await;
            client.generate_outline(request).await
        })
    });
    let asks: Vec<_> = asks.collect();
    let mut planned = Vec::new();
    for ask in asks {
        match ask.await.unwrap() {
            Ok(answer) => planned.push(answer.into_inner().job.unwrap()),
            Err(refused) => {
                assert_eq!(reason(&refused), (Code::ResourceExhausted, "OUTLINE_LIMIT".to_owned()));
                let wait = Fault::from(&refused).retry_after.unwrap();
                assert!(
                    wait > Duration::from_secs(86_000) && wait <= Duration::from_secs(86_400),
                    "{wait:?}"
                );
            }
        }
    }
    assert_eq!(planned.len(), 3);
    // Those that are open are answered, an operator is not counted, nor is what is a day old.
    assert_eq!(outline(&mut service, OWNER, &planned[0].document_id).await.unwrap(), planned[0]);
    let mut request = Request::new(pb::GenerateOutlineRequest { document_id: "document-x".to_owned() });
    stage.sign("operator", &mut request);
    service.client.generate_outline(request).await.unwrap();
    assert!(outline(&mut service, OWNER, "document-y").await.is_err());
    stage.change_jobs("created_at = created_at - 86400000000").await;
    outline(&mut service, OWNER, "document-y").await.unwrap();
}

async fn an_outline_that_fails_or_is_cancelled_leaves_the_document_alone(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("outline", 1) => Reply::Refuses(400, None),
        ("outline", 2) => Reply::Hangs(String::new()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let failed = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    assert_whole(&service.events(&failed, 0).await, 1, "failed");
    let cancelled = outline(&mut service, OWNER, DOCUMENT).await.unwrap().id;
    assert_ne!(cancelled, failed);
    let model = stage.model.clone().unwrap();
    model.was_asked_times("outline", 2).await;
    service.cancel(&cancelled).await;
    assert_whole(&service.events(&cancelled, 0).await, 1, "cancelled");
    // Beside an operator's job of the same document.
    let request = service.as_admin(pb::GenerateFullDocumentRequest { document_id: DOCUMENT.to_owned() });
    let whole = service.client.generate_full_document(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!(whole.purpose(), pb::JobPurpose::Document);
    assert_whole(&service.events(&whole.id, 0).await, 1, "completed");
    assert!(stage.rows("job_outbox", &["kind"], "job_id").await.is_empty(), "nobody was told of an end");
    assert_eq!(stage.document.told.lock().unwrap().attached, [whole.id]);
}

async fn who_may_not_have_an_outline_is_told_why(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    for (user, document_id) in [("user-2", DOCUMENT), (OWNER, ""), (OWNER, "a\0b")] {
        let refused = outline(&mut service, user, document_id).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::NotFound, "DOCUMENT_NOT_FOUND".to_owned()));
    }
    let ordered = |status: doc::DocumentStatus| {
        stage.document.brief.lock().unwrap().document.as_mut().unwrap().status = status.into();
    };
    ordered(doc::DocumentStatus::Queued);
    let refused = outline(&mut service, OWNER, DOCUMENT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "DOCUMENT_ORDERED".to_owned()));
    ordered(doc::DocumentStatus::PaymentPending);
    service.stop().await;
    let none = |config: &mut quire_background_job::Config| config.outlines_per_day = 0;
    let mut service = stage.start_with(World::system(), none).await;
    let refused = outline(&mut service, OWNER, DOCUMENT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "OUTLINES_OFF".to_owned()));
}
