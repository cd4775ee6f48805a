//! Rows to messages, and requests to what the rules take.

use quire_proto::job::v1 as pb;
use quire_proto::timestamp;

use crate::start::NewJob;
use crate::store::Status;
use crate::store::entity::{event, job};

impl From<pb::StartJobRequest> for NewJob {
    fn from(request: pb::StartJobRequest) -> Self {
        Self {
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
        }
    }
}

impl From<job::Model> for pb::Job {
    fn from(job: job::Model) -> Self {
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
