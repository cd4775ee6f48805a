//! Block tree to PDF, with counted pages, in a child process.
//!
//! Typst cannot be interrupted and keeps a cache for the whole process, so services use [`Typesetter`], which
//! runs `quire typeset` (that is [`run_child`]) under a deadline and a memory limit. [`render`] and [`fit`]
//! are the same work inside the calling process.

mod child;
mod fit;
mod glyphs;
mod press;
mod protocol;
mod typesetter;
mod world;

pub use child::run_child;
pub use fit::{Fitted, fit};
pub use press::{RenderError, Rendered, render};
pub use protocol::PlacedHeading;
pub use typesetter::{Typeset, TypesetError, Typesetter};
