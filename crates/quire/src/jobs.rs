//! `quire jobs`: what an operator does about jobs from a terminal; the running background-job service does the work.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use quire_clock::{Timestamp, World};
use quire_fault::Fault;
use quire_identity::ServiceIdentity;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::job_service_client::JobServiceClient;
use quire_serve::client::{channel, outgoing};
use quire_serve::settings::Settings;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::installation::Installation;
use crate::operator::say;

/// The name in the service token.
const OPERATOR: &str = "operator";
const DEADLINE: Duration = Duration::from_secs(15);
/// Long documents take a while.
const REPLAY_DEADLINE: Duration = Duration::from_secs(300);
/// Bytes of the longest document; tonic would stop at 4 MiB.
const LARGEST_TEXT: usize = 64 << 20;
const PAGE: i32 = 100;

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// A line for each job, the newest first.
    List {
        /// Only jobs that stand there.
        #[arg(long)]
        status: Option<Standing>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// What happened to a job: its events with their times, its steps with their tokens, and its calls of models with
    /// their costs.
    Show { id: String },
    /// Write a job once more from its recorded calls, without asking a model or storing anything, and say of each step
    /// whether it is the same. Fails unless everything is.
    Replay {
        id: String,
        /// Where the Markdown goes, as <id>.md: the document before it is typeset to its pages.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// End a job; the sections that are finished are delivered.
    Cancel { id: String },
    /// Go on with a job that failed, as a new one without an order that takes over the finished steps.
    Retry { id: String },
    /// Hold a job after the section it is writing. Only an operator can resume it then.
    Pause { id: String },
    /// Let a paused job go on.
    Resume { id: String },
    /// Say which of a user's jobs goes first: 0 to 9, the higher first; 5 unless it was set.
    Priority { id: String, priority: i32 },
    /// Messages of jobs that their receivers refuse.
    DeadLetters,
    /// Send a dead letter again.
    Redrive {
        id: String,
        /// As in the list: settle or report.
        kind: String,
    },
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Standing {
    Queued,
    Running,
    Paused,
    Completed,
    Failed,
    Cancelled,
}

impl From<Standing> for pb::JobStatus {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Queued => Self::Queued,
            Standing::Running => Self::Running,
            Standing::Paused => Self::Paused,
            Standing::Completed => Self::Completed,
            Standing::Failed => Self::Failed,
            Standing::Cancelled => Self::Cancelled,
        }
    }
}

/// # Errors
/// The settings cannot be used, background-job does not answer, or it refuses.
pub async fn run(command: JobsCommand, mut settings: Settings, world: World) -> anyhow::Result<()> {
    let installation = Installation::read(&mut settings, &world);
    settings.finish()?;
    let url = installation.job_url.clone();
    let desk = Desk {
        identity: ServiceIdentity::new(OPERATOR, world, &installation.master),
        client: JobServiceClient::new(channel(&url)?),
    };
    desk.run(command).await.with_context(|| format!("background-job at {url} (QUIRE_JOB_URL)"))
}

struct Desk {
    identity: ServiceIdentity,
    client: JobServiceClient<Channel>,
}

impl Desk {
    async fn run(&self, command: JobsCommand) -> anyhow::Result<()> {
        let mut client = self.client.clone();
        let job = match command {
            JobsCommand::List { status, limit } => return self.list(status, limit).await,
            JobsCommand::Show { id: job_id } => {
                let request = self.sign(pb::GetJobTimelineRequest { job_id });
                let timeline = answered(client.get_job_timeline(request).await)?;
                for line in shown(&timeline) {
                    say(&line);
                }
                return Ok(());
            }
            JobsCommand::Replay { id, out } => return self.replay(id, out).await,
            JobsCommand::DeadLetters => {
                let request = self.sign(pb::ListDeadLettersRequest {});
                for letter in answered(client.list_dead_letters(request).await)?.dead_letters {
                    say(&dead_letter(&letter));
                }
                return Ok(());
            }
            JobsCommand::Redrive { id: job_id, kind } => {
                let request = self.sign(pb::RedriveDeadLetterRequest { job_id, kind });
                anyhow::ensure!(
                    answered(client.redrive_dead_letter(request).await)?.redriven,
                    "there is no such dead letter"
                );
                say("it is sent again");
                return Ok(());
            }
            JobsCommand::Cancel { id: job_id } => {
                answered(client.cancel_job(self.sign(pb::CancelJobRequest { job_id })).await)?.job
            }
            JobsCommand::Retry { id: job_id } => {
                answered(client.retry_job(self.sign(pb::RetryJobRequest { job_id })).await)?.job
            }
            JobsCommand::Pause { id: job_id } => {
                answered(client.pause_job(self.sign(pb::PauseJobRequest { job_id })).await)?.job
            }
            JobsCommand::Resume { id: job_id } => {
                answered(client.resume_job(self.sign(pb::ResumeJobRequest { job_id })).await)?.job
            }
            JobsCommand::Priority { id: job_id, priority } => {
                let request = self.sign(pb::SetJobPriorityRequest { job_id, priority });
                answered(client.set_job_priority(request).await)?.job
            }
        };
        say(&line(&job.unwrap_or_default()));
        Ok(())
    }

    async fn list(&self, status: Option<Standing>, limit: usize) -> anyhow::Result<()> {
        let status = status.map_or(pb::JobStatus::Unspecified, Into::into);
        let mut left = limit;
        let mut page_token = String::new();
        while left > 0 {
            let page_size = i32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let message =
                pb::ListJobsRequest { page_size, page_token, status: status.into(), ..Default::default() };
            let page = answered(self.client.clone().list_jobs(self.sign(message)).await)?;
            left = left.saturating_sub(page.jobs.len());
            for job in &page.jobs {
                say(&line(job));
            }
            if page.next_page_token.is_empty() {
                break;
            }
            page_token = page.next_page_token;
        }
        Ok(())
    }

    async fn replay(&self, job_id: String, out: Option<PathBuf>) -> anyhow::Result<()> {
        let message = pb::ReplayJobRequest { job_id, with_markdown: out.is_some() };
        let client = self.client.clone().max_decoding_message_size(LARGEST_TEXT);
        let report = answered({ client }.replay_job(self.sign_for(message, REPLAY_DEADLINE)).await)?;
        for step in &report.steps {
            say(&replayed(step));
        }
        let job = report.job.unwrap_or_default();
        if let Some(folder) = out {
            let path = folder.join(format!("{}.md", job.id));
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            std::fs::write(&path, report.markdown).with_context(|| path.display().to_string())?;
            say(&format!("written to {}", path.display()));
        }
        anyhow::ensure!(report.reproduced, "not everything went as it did then");
        say("everything went as it did then");
        Ok(())
    }

    fn sign<T>(&self, message: T) -> Request<T> {
        self.sign_for(message, DEADLINE)
    }

    fn sign_for<T>(&self, message: T, deadline: Duration) -> Request<T> {
        let mut request = outgoing(message, deadline);
        self.identity.authorize(&mut request);
        request
    }
}

fn answered<T>(answer: Result<Response<T>, Status>) -> anyhow::Result<T> {
    let answer = answer.map_err(|status| Fault::from(&status));
    Ok(answer.map_err(|fault| anyhow::anyhow!("{}: {}", fault.reason, fault.message))?.into_inner())
}

fn line(job: &pb::Job) -> String {
    let status = job.status().as_str_name();
    let status = status.strip_prefix("JOB_STATUS_").unwrap_or(status).to_lowercase();
    let pause = match job.pause_reason.as_str() {
        "" => String::new(),
        who => format!("  paused by the {who}"),
    };
    let failure = if job.failure.is_empty() { String::new() } else { format!("  {}", job.failure) };
    format!(
        "{}  {status:<9} {:>3}%  priority {}  attempt {}  {}  document {}  user {}  since {}{pause}{failure}",
        job.id,
        job.percent,
        job.priority,
        job.attempt,
        job.step,
        job.document_id,
        job.user_id,
        time(job.created_at.as_ref()),
    )
}

fn shown(timeline: &pb::GetJobTimelineResponse) -> Vec<String> {
    let mut lines: Vec<String> = timeline.job.iter().map(line).collect();
    for event in &timeline.events {
        lines.push(format!(
            "{}  {:>5}  {:<15} {}",
            time(event.at.as_ref()),
            event.seq,
            event.kind,
            event.data_json
        ));
    }
    for step in &timeline.steps {
        lines.push(format!(
            "{}  {:<15} {:<8} claim {}  {} tokens in, {} out  {}",
            time(step.done_at.as_ref()),
            step.key,
            step.status,
            step.epoch,
            step.input_tokens,
            step.output_tokens,
            step.writer
        ));
    }
    for call in &timeline.calls {
        lines.push(format!(
            "{}  {:<15} {:<9} claim {}  {} tokens in, {} out  {} micro-USD  {}  since {}",
            time(call.ended_at.as_ref()),
            call.step_key,
            call.status,
            call.epoch,
            call.input_tokens,
            call.output_tokens,
            call.cost_micro,
            call.model,
            time(call.started_at.as_ref()).trim_end(),
        ));
    }
    let sum = |tokens: fn(&pb::JobStep) -> i64| timeline.steps.iter().map(tokens).sum::<i64>();
    let cost = |wasted: bool| {
        let calls = timeline.calls.iter().filter(|call| (call.status == "wasted") == wasted);
        calls.map(|call| call.cost_micro).sum::<i64>()
    };
    lines.push(format!(
        "{} tokens in, {} out; {} micro-USD, and {} wasted; {} crashes at the present step",
        sum(|step| step.input_tokens),
        sum(|step| step.output_tokens),
        cost(false),
        cost(true),
        timeline.crashes
    ));
    lines
}

fn replayed(step: &pb::ReplayedStep) -> String {
    let verdict = step.verdict().as_str_name();
    let verdict = verdict.strip_prefix("REPLAY_VERDICT_").unwrap_or(verdict).to_lowercase().replace('_', " ");
    let line = format!("{:<15} {verdict:<14} {} calls  {}", step.key, step.calls, step.detail);
    line.trim_end().to_owned()
}

fn dead_letter(letter: &pb::DeadLetter) -> String {
    let when = time(letter.dead_at.as_ref());
    format!("{when}  {}  {:<6}  {} tries: {}", letter.job_id, letter.kind, letter.attempts, letter.last_error)
}

/// As wide whether or not there is one.
fn time(moment: Option<&prost_types::Timestamp>) -> String {
    let shown =
        moment.map(|moment| Timestamp::from_unix_micros(quire_proto::from_timestamp(moment)).rfc3339());
    format!("{:<27}", shown.as_deref().unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_held_says_by_whom() {
        let job = pb::Job {
            id: "j-1".to_owned(),
            document_id: "d-1".to_owned(),
            user_id: "u-1".to_owned(),
            status: pb::JobStatus::Paused.into(),
            step: "section".to_owned(),
            percent: 40,
            attempt: 1,
            priority: 5,
            pause_reason: "owner".to_owned(),
            created_at: Some(quire_proto::timestamp(0)),
            ..Default::default()
        };
        let expected = "j-1  paused     40%  priority 5  attempt 1  section  document d-1  user u-1  since \
                        1970-01-01T00:00:00Z         paused by the owner";
        assert_eq!(
            line(&job).split_whitespace().collect::<Vec<_>>(),
            expected.split_whitespace().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_timeline_ends_with_the_sums_of_its_tokens_and_costs() {
        let step = |input_tokens, output_tokens| pb::JobStep {
            key: "section:1.1".to_owned(),
            status: "done".to_owned(),
            input_tokens,
            output_tokens,
            ..Default::default()
        };
        let call = |status: &str, cost_micro| pb::ModelCall {
            step_key: "section:1.1".to_owned(),
            status: status.to_owned(),
            cost_micro,
            ..Default::default()
        };
        let timeline = pb::GetJobTimelineResponse {
            events: vec![pb::JobEvent { seq: 1, kind: "queued".to_owned(), ..Default::default() }],
            steps: vec![step(100, 20), step(50, 5)],
            calls: vec![call("settled", 30), call("wasted", 7), call("estimated", 2)],
            crashes: 1,
            ..Default::default()
        };
        let lines = shown(&timeline);
        assert_eq!(lines.len(), 7);
        assert!(lines[3].contains("settled") && lines[3].contains("30 micro-USD"), "{}", lines[3]);
        assert_eq!(
            lines[6],
            "150 tokens in, 25 out; 32 micro-USD, and 7 wasted; 1 crashes at the present step"
        );
    }
}
