//! One call of a model: the request, the money, and the stream of the answer.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use quire_limit::upstream::{Answer as Heeded, Bounds, Pass, Upstream, Upstreams};
use tokio::time::{Instant, timeout_at};

use super::ask::{Answer, Ask, End, Heard, Trouble};
use super::endings::Seam;
use super::refusal::{self, Busy, LOCKED_OUT};
use super::repetition::Detector;
use super::sse::Parser;
use super::{anthropic, openai};
use crate::attempt::input_hash;
use crate::money::ledger::{self, Outcome, Wanted};
use crate::money::price::Price;
use crate::recordings::{self, Ending};
use crate::tape::Tape;
use crate::writer::{Sink, Usage, WriteError};
use crate::writers::settings::{ModelConfig, ModelSettings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const GARBLED: &str = "the model's stream is not one of events";
/// The reason of a refusal that was recorded: only its sentence is.
const RECORDED: &str = "recorded";
/// The money of a call is reserved in the database before it is made: that takes no longer.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(30);
/// Far above what a section can be.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Whose language an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    OpenAi,
    Anthropic,
}

/// Talks to one endpoint.
#[derive(Clone)]
pub struct Model {
    http: reqwest::Client,
    provider: Provider,
    settings: ModelSettings,
    price: Option<Price>,
    upstream: Arc<Upstream>,
    silence: Duration,
    max_output_tokens: u32,
}

impl Model {
    /// # Errors
    /// The TLS provider cannot be used.
    pub fn new(
        provider: Provider,
        settings: ModelSettings,
        config: &ModelConfig,
        upstreams: &Upstreams,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect could carry the key and the customer's text to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let price = config.prices.of(&settings.model);
        if price.is_none() {
            tracing::warn!(model = settings.model, "{}", no_price(&settings.model));
        }
        let (silence, max_output_tokens) = (config.silence, config.max_output_tokens);
        let bounds = Bounds {
            calls_per_minute: config.requests_per_minute,
            cost_per_minute: config.tokens_per_minute,
            trial: RESERVE_TIMEOUT + CONNECT_TIMEOUT + silence,
        };
        let upstream = upstreams.open(&place(&settings), bounds);
        Ok(Self { http, provider, settings, price, upstream, silence, max_output_tokens })
    }

    pub fn name(&self) -> &str {
        &self.settings.model
    }

    pub fn upstream(&self) -> Arc<Upstream> {
        self.upstream.clone()
    }

    /// Asks, and passes the new text on as it comes. The money is reserved before; the caller books an answer's when it
    /// keeps the text.
    ///
    /// # Errors
    /// Retryable when the endpoint does not answer, is overloaded or breaks off; else the endpoint refuses.
    #[tracing::instrument(name = "model", skip_all, fields(model = self.settings.model))]
    pub async fn ask(&self, ask: Ask<'_>, sink: &Sink) -> Result<Answer, Trouble> {
        let request_hash = self.hash(ask);
        if let Some(tape) = sink.tape() {
            return play(tape, &request_hash, ask, sink).await;
        }
        let price = self
            .price
            .ok_or_else(|| WriteError::Wait { reason: no_price(self.name()), after: Some(LOCKED_OUT) })?;
        let wanted = Wanted {
            request_hash,
            model: self.name().to_owned(),
            price,
            prompt_bytes: ask.bytes(),
            max_output_tokens: i64::from(self.max_output_tokens),
        };
        let expected = ledger::about(wanted.prompt_bytes) + wanted.max_output_tokens;
        let wait =
            |after| WriteError::Wait { reason: "waiting for the model".to_owned(), after: Some(after) };
        let mut pass = self.upstream.enter(expected).await.map_err(wait)?;
        sink.reserve(wanted).await?;
        let mut hearing = Hearing::new(ask.after);
        let heard = self.listen(ask, &mut hearing, &mut pass, sink).await;
        let outcome = hearing.outcome();
        pass.settle(hearing.tokens(ask)).await;
        sink.heard(hearing.recorded(&heard)).await?;
        conclude(heard, hearing, outcome, sink).await
    }

    /// Of everything that an answer depends on.
    fn hash(&self, ask: Ask<'_>) -> String {
        let provider = match self.provider {
            Provider::OpenAi => "openai",
            Provider::Anthropic => "anthropic",
        };
        input_hash(&(provider, self.name(), ask.messages, self.max_output_tokens, ask.differently))
    }

    async fn listen(
        &self,
        ask: Ask<'_>,
        hearing: &mut Hearing,
        pass: &mut Pass,
        sink: &Sink,
    ) -> Result<(), Trouble> {
        let request = match self.provider {
            Provider::OpenAi => openai::request(&self.http, &self.settings, ask, self.max_output_tokens),
            Provider::Anthropic => {
                anthropic::request(&self.http, &self.settings, ask, self.max_output_tokens)
            }
        };
        let response = match timeout_at(Instant::now() + self.silence, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                hearing.paid = !error.is_connect();
                return Err(refusal::unreachable(&error).into());
            }
            Err(_) => {
                hearing.paid = true;
                return Err(self.silent().into());
            }
        };
        pass.answered(match refusal::busy(&response) {
            Some(Busy { after }) => Heeded::Busy { after },
            None => Heeded::Served,
        })
        .await;
        refusal::check(&response)?;
        hearing.paid = true;
        let mut stream = response.bytes_stream();
        let mut parser = Parser::default();
        let mut patience = Instant::now() + self.silence;
        while !hearing.done {
            let piece = timeout_at(patience, stream.next()).await.map_err(|_| self.silent())?;
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| refusal::unreachable(&error))?;
            let events = parser.push(&piece).map_err(|_| Trouble::Garbled(GARBLED))?;
            for event in events {
                let heard = match self.provider {
                    Provider::OpenAi => openai::read(&event)?,
                    Provider::Anthropic => anthropic::read(&event)?,
                };
                // What only keeps the connection alive is no progress.
                let Some(heard) = heard else { continue };
                patience = Instant::now() + self.silence;
                let text = hearing.take(heard)?;
                sink.text(text).await?;
            }
        }
        sink.text(hearing.end()?).await?;
        Ok(())
    }

    fn silent(&self) -> WriteError {
        WriteError::retry(format!("the model sent nothing for {} seconds", self.silence.as_secs_f64()))
    }
}

/// What a call has come to. One without an answer is booked here.
async fn conclude(
    heard: Result<(), Trouble>,
    hearing: Hearing,
    outcome: Outcome,
    sink: &Sink,
) -> Result<Answer, Trouble> {
    let answer = heard.and_then(|()| hearing.finish(outcome));
    if let Err(trouble) = &answer {
        if matches!(trouble, Trouble::Looping | Trouble::Garbled(_)) {
            // Not even a later attempt shall go on from this text.
            sink.restart().await?;
        }
        sink.settle(outcome).await?;
    }
    answer
}

/// Hears a recorded call as if it were made.
async fn play(tape: &Tape, request_hash: &str, ask: Ask<'_>, sink: &Sink) -> Result<Answer, Trouble> {
    let recorded = tape.play(request_hash).ok_or(WriteError::Ended)?;
    let mut hearing = Hearing::new(ask.after);
    let heard = hearing.play(recorded, sink).await;
    let outcome = hearing.outcome();
    conclude(heard, hearing, outcome, sink).await
}

/// What the provider counts the calls of: a model at an address. Without a password that the address may hold.
fn place(settings: &ModelSettings) -> String {
    let url = &settings.base_url;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    format!("{}\n{host}:{port}{}", settings.model, url.path())
}

fn no_price(model: &str) -> String {
    format!(
        "nobody said what the model {model} costs: set its price in QUIRE_MODEL_PRICES, 0 if it costs nothing"
    )
}

/// What has come of an answer.
struct Hearing {
    seam: Seam,
    detector: Detector,
    continues: bool,
    text: String,
    /// Everything, as it came.
    raw: String,
    /// Anything at all was said, even if it only repeated the text before.
    said: bool,
    end: Option<End>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    /// The provider said that nothing more comes.
    done: bool,
    /// The provider may ask money for it.
    paid: bool,
}

impl Hearing {
    fn new(after: &str) -> Self {
        Self {
            seam: Seam::after(after),
            detector: Detector::default(),
            continues: !after.is_empty(),
            text: String::new(),
            raw: String::new(),
            said: false,
            end: None,
            input_tokens: None,
            output_tokens: None,
            done: false,
            paid: false,
        }
    }

    /// The new text of one event.
    fn take(&mut self, heard: Heard) -> Result<String, Trouble> {
        self.done |= heard.last;
        self.end = heard.end.or(self.end);
        self.input_tokens = heard.input_tokens.or(self.input_tokens);
        self.output_tokens = heard.output_tokens.or(self.output_tokens);
        self.said |= !heard.text.trim().is_empty();
        self.raw.push_str(&heard.text);
        let text = self.seam.push(heard.text);
        self.add(text)
    }

    /// The text that was held back, as it could have repeated the text before.
    fn end(&mut self) -> Result<String, Trouble> {
        let text = self.seam.finish();
        self.add(text)
    }

    fn add(&mut self, text: String) -> Result<String, Trouble> {
        self.text.push_str(&text);
        if self.detector.push(&text) {
            return Err(Trouble::Looping);
        }
        if self.text.len() > MAX_ANSWER_BYTES {
            let sentence = "the language model did not come to an end";
            return Err(WriteError::failed("endless_answer", sentence).into());
        }
        Ok(text)
    }

    /// What is recorded of a call.
    fn recorded(&self, heard: &Result<(), Trouble>) -> recordings::Heard {
        let ending = match heard {
            Ok(()) => Ending::Answered { end: self.end, done: self.done },
            Err(Trouble::Looping) => Ending::Looping,
            Err(Trouble::Garbled(_)) => Ending::Garbled,
            Err(Trouble::Other(error)) => match error {
                WriteError::Wait { reason, .. } => Ending::Wait { reason: reason.clone() },
                WriteError::Failed { sentence, .. } => Ending::Failed { sentence: sentence.clone() },
                WriteError::Retry { .. } | WriteError::Budget(_) | WriteError::Ended => {
                    Ending::Retry { reason: error.to_string() }
                }
            },
        };
        let (input_tokens, output_tokens) = (self.input_tokens, self.output_tokens);
        recordings::Heard { answer: self.raw.clone(), ending, input_tokens, output_tokens }
    }

    /// Hears what was recorded, and ends as it did.
    async fn play(&mut self, recorded: recordings::Heard, sink: &Sink) -> Result<(), Trouble> {
        let recordings::Heard { answer: text, ending, input_tokens, output_tokens } = recorded;
        let (end, last) = match ending {
            Ending::Answered { end, done } => (end, done),
            _ => (None, false),
        };
        self.paid = true;
        let text = self.take(Heard { text, end, input_tokens, output_tokens, last })?;
        sink.text(text).await?;
        match ending {
            Ending::Answered { .. } => {
                sink.text(self.end()?).await?;
                Ok(())
            }
            Ending::Looping => Err(Trouble::Looping),
            Ending::Garbled => Err(Trouble::Garbled(GARBLED)),
            Ending::Open => Err(WriteError::Ended.into()),
            Ending::Retry { reason } => Err(WriteError::retry(reason).into()),
            Ending::Wait { reason } => Err(WriteError::Wait { reason, after: None }.into()),
            Ending::Failed { sentence } => Err(WriteError::failed(RECORDED, sentence).into()),
        }
    }

    /// What the call is booked as.
    fn outcome(&self) -> Outcome {
        match self.usage() {
            _ if !self.paid => Outcome::Refused,
            Some(usage) if self.end.is_some() => Outcome::Counted(usage),
            _ => Outcome::BrokenOff,
        }
    }

    /// Tokens sent and received, as far as is known.
    fn tokens(&self, ask: Ask<'_>) -> i64 {
        if !self.paid {
            return 0;
        }
        let input = self.input_tokens.unwrap_or_else(|| ledger::about(ask.bytes()));
        input + self.output_tokens.unwrap_or_else(|| ledger::about(self.text.len()))
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage { input_tokens: self.input_tokens?, output_tokens: self.output_tokens? })
    }

    fn finish(self, outcome: Outcome) -> Result<Answer, Trouble> {
        let usage = self.usage().unwrap_or_default();
        let cut = match self.end {
            None if !self.done => return Err(WriteError::retry("the model's answer broke off").into()),
            Some(End::Filtered) => {
                let sentence = "the language model refused to write this text";
                return Err(WriteError::failed("content_filter", sentence).into());
            }
            Some(End::NoRoom) => true,
            Some(End::Whole) | None => false,
        };
        // A continuation that finds nothing to add is one.
        if !self.said && !self.continues {
            return Err(WriteError::retry("the model's answer was empty").into());
        }
        Ok(Answer { text: self.text, cut, usage, outcome })
    }
}
