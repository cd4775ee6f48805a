//! The writers that this installation has.

pub mod digest;
mod digest_plan;
pub mod model;
pub mod settings;

use std::sync::Arc;

use quire_limit::upstream::{Upstream, Upstreams};

use crate::error::Stop;
use crate::money::price::Price;
use crate::writer::Writer;
use model::{ModelWriter, Provider};
use settings::ModelConfig;

const DIGEST: &str = "digest";
const OPENAI: &str = "openai";
const ANTHROPIC: &str = "anthropic";

/// A writer that may be ordered, and the model that it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    pub writer: &'static str,
    /// `None`: it asks none.
    pub model: Option<String>,
    /// `None`: nobody said what the model costs, so it is not asked.
    pub price: Option<Price>,
}

/// Every writer of this installation.
pub fn offered(config: &ModelConfig) -> Vec<Offered> {
    let digest = Offered { writer: DIGEST, model: None, price: Some(Price { input: 0, output: 0 }) };
    let models = [(OPENAI, &config.openai), (ANTHROPIC, &config.anthropic)];
    let models = models.into_iter().filter_map(|(writer, settings)| {
        let model = settings.as_ref()?.model.clone();
        Some(Offered { writer, price: config.prices.of(&model), model: Some(model) })
    });
    std::iter::once(digest).chain(models).collect()
}

/// Writers by the name in an order. The one that was ordered is the one that writes, unless the order names others
/// that may stand in for it.
#[derive(Clone)]
pub struct Writers {
    pub digest: Arc<dyn Writer>,
    /// `None`: no such model is configured.
    pub openai: Option<Arc<dyn Writer>>,
    /// `None`: no such model is configured.
    pub anthropic: Option<Arc<dyn Writer>>,
    /// Those whose model has a price.
    priced: Vec<&'static str>,
    /// Of each model that is set up.
    pub gates: Vec<(String, Arc<Upstream>)>,
}

impl Writers {
    /// The digest, and the models that are set.
    ///
    /// # Errors
    /// The TLS provider cannot be used.
    pub fn new(config: &ModelConfig, upstreams: &Upstreams) -> Result<Self, reqwest::Error> {
        let mut gates = Vec::new();
        let mut model = |provider, settings: &Option<settings::ModelSettings>| {
            let Some(settings) = settings.clone() else { return Ok(None) };
            let writer = ModelWriter::new(provider, settings, config, upstreams)?;
            gates.push(writer.gate());
            Ok::<_, reqwest::Error>(Some(Arc::new(writer) as Arc<dyn Writer>))
        };
        let openai = model(Provider::OpenAi, &config.openai)?;
        let anthropic = model(Provider::Anthropic, &config.anthropic)?;
        let priced = offered(config).into_iter().filter(|offered| offered.model.is_some());
        let priced = priced.filter(|offered| offered.price.is_some()).map(|offered| offered.writer);
        Ok(Self {
            digest: Arc::new(digest::DigestWriter),
            openai,
            anthropic,
            priced: priced.collect(),
            gates,
        })
    }

    /// Whether this writer's model is set up and may be asked.
    pub fn can_stand_in(&self, name: &str) -> bool {
        self.priced.contains(&name)
    }

    /// # Errors
    /// There is no such writer here.
    pub fn named(&self, name: &str) -> Result<Arc<dyn Writer>, Stop> {
        match name {
            DIGEST => Ok(self.digest.clone()),
            OPENAI => self.openai.clone().ok_or_else(no_model),
            ANTHROPIC => self.anthropic.clone().ok_or_else(no_model),
            _ => Err(Stop::failed("unknown_writer", "the document names a writer that is not known here")),
        }
    }
}

fn no_model() -> Stop {
    Stop::failed("no_model", "this document needs a language model, and none is set up here")
}
