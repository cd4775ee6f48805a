//! Jobs over REST: what their owners may do, and what only operators may.

use quire_identity::Role;
use quire_proto::job::v1 as job;
use reqwest::Method;
use serde_json::json;

use crate::door::{Door, header, json as json_of};
use crate::tokens;
use crate::upstream::Upstream;

fn paused() -> job::Job {
    job::Job {
        id: "1".to_owned(),
        user_id: "ada".to_owned(),
        status: job::JobStatus::Paused.into(),
        priority: 5,
        paused_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
        pause_reason: "owner".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_owner_pauses_and_resumes() {
    let upstream = Upstream::with(tokens::auth()).await;
    upstream.answer("PauseJob", &job::PauseJobResponse { job: Some(paused()) });
    upstream.answer("ResumeJob", &job::ResumeJobResponse { job: Some(job::Job::default()) });
    let door = Door::open(&upstream.url, "pauses", &[]).await;
    let token = tokens::access("ada", Role::User);
    let post = |path: &str| door.request(Method::POST, path).bearer_auth(&token).send();
    let answer = json_of(post("/api/v1/jobs/1/pause").await.unwrap()).await;
    assert_eq!(
        [&answer["status"], &answer["pause_reason"], &answer["paused_at"]],
        [&json!("paused"), &json!("owner"), &json!("1970-01-01T00:00:00Z")]
    );
    assert_eq!(post("/api/v1/jobs/1/resume").await.unwrap().status(), 200);
    let calls = upstream.calls();
    assert_eq!(calls[0].message::<job::PauseJobRequest>().job_id, "1");
    assert_eq!(calls[1].message::<job::ResumeJobRequest>().job_id, "1");
}

#[tokio::test]
async fn operators_routes_let_no_user_through_to_the_service() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "operators", &[]).await;
    let token = tokens::access("ada", Role::User);
    for (method, path) in [
        (Method::GET, "/api/v1/admin/jobs"),
        (Method::GET, "/api/v1/admin/jobs/1"),
        (Method::POST, "/api/v1/admin/jobs/1/replay"),
        (Method::POST, "/api/v1/admin/jobs/1/retry"),
        (Method::PUT, "/api/v1/admin/jobs/1/priority"),
        (Method::GET, "/api/v1/admin/job-dead-letters"),
        (Method::POST, "/api/v1/admin/job-dead-letters/1/settle/redrive"),
    ] {
        let request = door.request(method, path).bearer_auth(&token).json(&json!({ "priority": 9 }));
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "x-quire-reason").as_str()),
            (403, "ADMIN_REQUIRED"),
            "{path}"
        );
    }
    assert_eq!(upstream.calls().len(), 0);
}

#[tokio::test]
async fn an_operator_lists_looks_retries_and_orders() {
    let upstream = Upstream::with(tokens::auth()).await;
    let event = job::JobEvent { seq: 1, data_json: "{\"pages\":6}".to_owned(), ..Default::default() };
    let step = job::JobStep { key: "plan".to_owned(), input_tokens: 7, ..Default::default() };
    let timeline = job::GetJobTimelineResponse {
        job: Some(paused()),
        events: vec![event],
        steps: vec![step],
        crashes: 2,
        calls: vec![job::ModelCall { cost_micro: 9, ..Default::default() }],
    };
    upstream.answer("GetJobTimeline", &timeline);
    upstream.answer("ListJobs", &job::ListJobsResponse { jobs: vec![paused()], ..Default::default() });
    upstream.answer("RetryJob", &job::RetryJobResponse { job: Some(paused()) });
    upstream.answer("SetJobPriority", &job::SetJobPriorityResponse { job: Some(paused()) });
    upstream.answer("RedriveDeadLetter", &job::RedriveDeadLetterResponse { redriven: true });
    let door = Door::open(&upstream.url, "operator", &[]).await;
    let token = tokens::access("root", Role::Admin);
    let ask = |method: Method, path: &str| door.request(method, path).bearer_auth(&token);
    let send = async |request: reqwest::RequestBuilder| request.send().await.unwrap();

    let listed = json_of(send(ask(Method::GET, "/api/v1/admin/jobs?status=paused")).await).await;
    assert_eq!(listed["jobs"][0]["user_id"], "ada");
    let shown = json_of(send(ask(Method::GET, "/api/v1/admin/jobs/1")).await).await;
    assert_eq!(
        [&shown["job"]["id"], &shown["events"][0]["data"]["pages"], &shown["steps"][0]["input_tokens"]],
        [&json!("1"), &json!(6), &json!(7)]
    );
    assert_eq!(shown["calls"][0]["cost_micro"], 9);
    let retried = send(ask(Method::POST, "/api/v1/admin/jobs/2/retry")).await;
    assert_eq!((retried.status().as_u16(), header(&retried, "location").as_str()), (202, "/api/v1/jobs/1"));
    let priority = ask(Method::PUT, "/api/v1/admin/jobs/1/priority");
    assert_eq!(send(priority.json(&json!({ "priority": 9 }))).await.status(), 200);
    let redriven = send(ask(Method::POST, "/api/v1/admin/job-dead-letters/1/settle/redrive")).await;
    assert_eq!(json_of(redriven).await, json!({ "redriven": true }));

    let calls = upstream.calls();
    assert_eq!(calls[0].message::<job::ListJobsRequest>().status(), job::JobStatus::Paused);
    assert_eq!(calls[3].message::<job::SetJobPriorityRequest>().priority, 9);
    assert_eq!(calls[4].message::<job::RedriveDeadLetterRequest>().kind, "settle");
    for wrong in [
        ask(Method::GET, "/api/v1/admin/jobs?status=asleep"),
        ask(Method::PUT, "/api/v1/admin/jobs/1/priority").json(&json!({})),
    ] {
        assert_eq!(send(wrong).await.status(), 422);
    }
    assert_eq!(upstream.calls().len(), calls.len());
}
