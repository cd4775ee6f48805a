//! Jobs as JSON.

use quire_proto::job::v1 as pb;
use serde_json::{Value, json};

use super::{number_or_null, or_null, time, word};

pub(crate) fn job(job: &pb::Job) -> Value {
    json!({
        "id": job.id,
        "order_id": or_null(&job.order_id),
        "document_id": job.document_id,
        "purpose": word(job.purpose().as_str_name(), "JOB_PURPOSE_"),
        "status": word(job.status().as_str_name(), "JOB_STATUS_"),
        "step": or_null(&job.step),
        "sections_done": job.sections_done,
        "sections_total": job.sections_total,
        "percent": job.percent,
        "attempt": job.attempt,
        "counted_pages": number_or_null(job.counted_pages),
        "failure": or_null(&job.failure),
        "last_event_id": job.last_seq,
        "priority": job.priority,
        "paused_at": time(job.paused_at.as_ref()),
        "pause_reason": or_null(&job.pause_reason),
        "created_at": time(job.created_at.as_ref()),
        "finished_at": time(job.finished_at.as_ref()),
        "forecast": job.forecast.as_ref().map(forecast),
    })
}

fn forecast(forecast: &pb::Forecast) -> Value {
    json!({
        "finish_p50": time(forecast.finish_p50.as_ref()),
        "finish_p90": time(forecast.finish_p90.as_ref()),
        "cost_micro": forecast.cost_micro,
    })
}

/// The same, and whose it is.
pub(crate) fn of_anybody(job: &pb::Job) -> Value {
    let mut value = self::job(job);
    value["user_id"] = json!(job.user_id);
    value
}

/// What an event carries. Stored as JSON; should it ever not be, the text itself is still shown.
pub(crate) fn data(event: &pb::JobEvent) -> Value {
    serde_json::from_str(&event.data_json).unwrap_or_else(|_| json!(event.data_json))
}

pub(crate) fn timeline(timeline: &pb::GetJobTimelineResponse) -> Value {
    let event = |event: &pb::JobEvent| {
        json!({
            "id": event.seq,
            "kind": event.kind,
            "data": data(event),
            "at": time(event.at.as_ref()),
        })
    };
    let step = |step: &pb::JobStep| {
        json!({
            "key": step.key,
            "status": step.status,
            "epoch": step.epoch,
            "writer": or_null(&step.writer),
            "input_tokens": step.input_tokens,
            "output_tokens": step.output_tokens,
            "done_at": time(step.done_at.as_ref()),
            "taken_from": or_null(&step.taken_from),
        })
    };
    json!({
        "job": timeline.job.as_ref().map(of_anybody),
        "crashes": timeline.crashes,
        "events": timeline.events.iter().map(event).collect::<Vec<_>>(),
        "steps": timeline.steps.iter().map(step).collect::<Vec<_>>(),
        "calls": timeline.calls.iter().map(call).collect::<Vec<_>>(),
    })
}

fn call(call: &pb::ModelCall) -> Value {
    json!({
        "step": call.step_key,
        "epoch": call.epoch,
        "model": call.model,
        "status": call.status,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cost_micro": call.cost_micro,
        "started_at": time(call.started_at.as_ref()),
        "ended_at": time(call.ended_at.as_ref()),
    })
}

/// Without the text.
pub(crate) fn replay(replay: &pb::ReplayJobResponse) -> Value {
    let step = |step: &pb::ReplayedStep| {
        json!({
            "key": step.key,
            "verdict": word(step.verdict().as_str_name(), "REPLAY_VERDICT_"),
            "detail": or_null(&step.detail),
            "calls": step.calls,
        })
    };
    json!({
        "job": replay.job.as_ref().map(of_anybody),
        "steps": replay.steps.iter().map(step).collect::<Vec<_>>(),
        "reproduced": replay.reproduced,
    })
}

pub(crate) fn dead_letter(letter: &pb::DeadLetter) -> Value {
    json!({
        "job_id": letter.job_id,
        "kind": letter.kind,
        "attempts": letter.attempts,
        "last_error": or_null(&letter.last_error),
        "dead_at": time(letter.dead_at.as_ref()),
    })
}
