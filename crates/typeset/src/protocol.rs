//! What parent and child say to each other: one JSON request on stdin, one JSON reply on stdout.

use std::borrow::Cow;
use std::path::PathBuf;

use quire_manuscript::Book;
use serde::{Deserialize, Serialize};

use crate::press::RenderError;

#[derive(Serialize, Deserialize)]
pub(crate) struct Request<'a> {
    pub book: Cow<'a, Book>,
    /// With a target, optional blocks are left out until the PDF has at most this many pages.
    pub target_pages: Option<u32>,
    /// Limit of the child's address space; `None` leaves it as it is.
    pub memory_limit_bytes: Option<u64>,
    /// Where the child writes the PDF.
    pub out_path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Failed(Failure),
    Done(Done),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub pages: u32,
    /// Blocks of this rank and above were left out; `None`: the book is whole.
    pub limit: Option<u32>,
    pub layouts: u32,
    pub headings: Vec<PlacedHeading>,
    pub pdf_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub(crate) enum Failure {
    MissingGlyph {
        codepoint: String,
        near: String,
    },
    InvalidBook {
        message: String,
    },
    Compile {
        messages: Vec<String>,
    },
    /// The request could not be read or the PDF not be written.
    Io {
        message: String,
    },
}

/// A heading and the page it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedHeading {
    /// 1 for a chapter, 2 for a section.
    pub level: u8,
    /// Without its number.
    pub text: String,
    /// Counted from 1, the title page included.
    pub page: u32,
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::MissingGlyph { codepoint, near } => Self::MissingGlyph { codepoint, near },
            RenderError::InvalidBook(message) => Self::InvalidBook { message },
            RenderError::Compile(messages) => Self::Compile { messages },
        }
    }
}
