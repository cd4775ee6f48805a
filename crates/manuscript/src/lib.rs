//! The block tree of a document, and its Markdown face.
