//! The writers that this installation has.

pub mod digest;
pub mod openai;

use std::sync::Arc;

use crate::error::Stop;
use crate::writer::Writer;

/// Writers by the name in an order. The one that was ordered is the one that writes: there is no fallback.
#[derive(Clone)]
pub struct Writers {
    pub digest: Arc<dyn Writer>,
    /// `None`: no model is configured.
    pub openai: Option<Arc<dyn Writer>>,
}

impl Writers {
    /// # Errors
    /// There is no such writer here.
    pub fn named(&self, name: &str) -> Result<Arc<dyn Writer>, Stop> {
        match name {
            "digest" => Ok(self.digest.clone()),
            "openai" => self.openai.clone().ok_or_else(|| {
                let sentence = "this document needs a language model, and none is set up here";
                Stop::failed("no_model", sentence)
            }),
            _ => Err(Stop::failed("unknown_writer", "the document names a writer that is not known here")),
        }
    }
}
