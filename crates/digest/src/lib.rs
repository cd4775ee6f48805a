//! Composes a cited digest from a customer's sources without a language model.
//!
//! The steps, each a pure function of its arguments (same input, same bytes):
//! [`Corpus::build`] reads the sources into sentences that stand word for word on one page;
//! [`Corpus::capacity`] says how many pages they can fill; [`plan`] proposes chapters and sections;
//! [`assign`] gives every section its quotations, each used once in the whole document;
//! [`write_section`] turns one section's quotations into blocks, so that a job can stop between any two.

mod assign;
mod bm25;
mod capacity;
mod cluster;
mod compose;
mod corpus;
mod duplicates;
mod layout;
mod lexicon;
mod outline;
mod paragraphs;
mod plan;
mod planner;
mod sentences;
mod standing;
mod stems;
mod verbatim;

pub use assign::{Assignment, Run, SectionRuns, assign};
pub use capacity::{Capacity, PageMetrics, SURPLUS};
pub use compose::{DigestError, disclosure, references, write_section};
pub use corpus::{Corpus, SourceText, source_title};
pub use plan::{Plan, PlanRequest, PlannedChapter, PlannedSection, plan};
pub use verbatim::{is_verbatim, normalise_page};
