//! Rows to messages, and requests to what the rules take.

use quire_proto::job::v1 as pb;
use quire_proto::timestamp;

use crate::forecast::measure::Forecast;
use crate::money::price::Price;
use crate::replay::{Replayed, Report, Verdict};
use crate::start::NewJob;
use crate::store::entity::{cost, event, job, outbox, step};
use crate::store::{Purpose, Status};
use crate::timeline::Timeline;
use crate::writers::Offered;

impl From<pb::StartJobRequest> for NewJob {
    fn from(request: pb::StartJobRequest) -> Self {
        Self {
            purpose: Purpose::Document,
            order_id: Some(request.order_id),
            document_id: request.document_id,
            user_id: request.user_id,
            pages: request.pages,
        }
    }
}

impl From<Status> for pb::JobStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::Running => Self::Running,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
            Status::Paused => Self::Paused,
        }
    }
}

/// `None`: unspecified.
pub fn status(status: pb::JobStatus) -> Option<Status> {
    Some(match status {
        pb::JobStatus::Unspecified => return None,
        pb::JobStatus::Queued => Status::Queued,
        pb::JobStatus::Running => Status::Running,
        pb::JobStatus::Completed => Status::Completed,
        pb::JobStatus::Failed => Status::Failed,
        pb::JobStatus::Cancelled => Status::Cancelled,
        pb::JobStatus::Paused => Status::Paused,
    })
}

impl From<job::Model> for pb::Job {
    fn from(job: job::Model) -> Self {
        let purpose = match job.purpose() {
            Purpose::Document => pb::JobPurpose::Document,
            Purpose::Outline => pb::JobPurpose::Outline,
        };
        Self {
            status: pb::JobStatus::from(job.status()).into(),
            id: job.id,
            order_id: job.order_id.unwrap_or_default(),
            document_id: job.document_id,
            user_id: job.user_id,
            step: job.step,
            sections_done: job.sections_done,
            sections_total: job.sections_total,
            percent: job.percent,
            attempt: job.attempt,
            counted_pages: job.counted_pages,
            failure: job.failure,
            last_seq: job.last_seq,
            created_at: Some(timestamp(job.created_at)),
            finished_at: job.finished_at.map(timestamp),
            priority: job.priority,
            paused_at: job.paused_at.map(timestamp),
            pause_reason: job.pause_reason,
            forecast: None,
            purpose: purpose.into(),
        }
    }
}

impl From<job::Model> for pb::OrderJob {
    fn from(job: job::Model) -> Self {
        Self {
            status: pb::JobStatus::from(job.status()).into(),
            delivered_pages: job.delivered_pages(),
            job_id: job.id,
            order_id: job.order_id.unwrap_or_default(),
        }
    }
}

impl From<event::Model> for pb::JobEvent {
    fn from(event: event::Model) -> Self {
        Self { seq: event.seq, kind: event.kind, data_json: event.data, at: Some(timestamp(event.at)) }
    }
}

impl From<step::Model> for pb::JobStep {
    fn from(step: step::Model) -> Self {
        Self {
            key: step.step_key,
            status: step.status,
            epoch: step.epoch,
            writer: step.writer,
            input_tokens: step.input_tokens,
            output_tokens: step.output_tokens,
            done_at: step.done_at.map(timestamp),
            taken_from: step.taken_from,
        }
    }
}

impl From<cost::Model> for pb::ModelCall {
    fn from(call: cost::Model) -> Self {
        Self {
            step_key: call.step_key,
            epoch: call.epoch,
            model: call.model,
            status: call.status,
            input_tokens: call.input_tokens,
            output_tokens: call.output_tokens,
            cost_micro: call.cost_micro,
            started_at: Some(timestamp(call.started_at)),
            ended_at: call.ended_at.map(timestamp),
        }
    }
}

impl From<Forecast> for pb::Forecast {
    fn from(forecast: Forecast) -> Self {
        Self {
            finish_p50: Some(timestamp(forecast.finish.p50)),
            finish_p90: Some(timestamp(forecast.finish.p90)),
            cost_micro: forecast.cost_micro,
        }
    }
}

impl From<Verdict> for pb::ReplayVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Same => Self::Same,
            Verdict::Differs => Self::Differs,
            Verdict::NoRecording => Self::NoRecording,
            Verdict::PromptChanged => Self::PromptChanged,
            Verdict::Failed => Self::Failed,
            Verdict::Written => Self::Written,
        }
    }
}

impl From<Report> for pb::ReplayJobResponse {
    fn from(report: Report) -> Self {
        let step = |step: Replayed| pb::ReplayedStep {
            key: step.key,
            verdict: pb::ReplayVerdict::from(step.verdict).into(),
            detail: step.detail,
            calls: i32::try_from(step.calls).unwrap_or(i32::MAX),
        };
        Self {
            job: Some(report.job.into()),
            steps: report.steps.into_iter().map(step).collect(),
            reproduced: report.reproduced,
            markdown: report.markdown,
        }
    }
}

impl From<Timeline> for pb::GetJobTimelineResponse {
    fn from(timeline: Timeline) -> Self {
        Self {
            crashes: timeline.job.crash_count,
            job: Some(timeline.job.into()),
            events: timeline.events.into_iter().map(Into::into).collect(),
            steps: timeline.steps.into_iter().map(Into::into).collect(),
            calls: timeline.calls.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<outbox::Model> for pb::DeadLetter {
    fn from(letter: outbox::Model) -> Self {
        Self {
            job_id: letter.job_id,
            kind: letter.kind,
            attempts: letter.attempts,
            last_error: letter.last_error,
            dead_at: letter.dead_at.map(timestamp),
        }
    }
}

impl From<&Offered> for pb::WriterModel {
    fn from(offered: &Offered) -> Self {
        let price = |price: Price| pb::ModelPrice { input_micro: price.input, output_micro: price.output };
        Self {
            writer: offered.writer.to_owned(),
            model: offered.model.clone().unwrap_or_default(),
            price: offered.price.map(price),
        }
    }
}
