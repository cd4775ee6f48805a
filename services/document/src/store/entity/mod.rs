//! The tables, as SeaORM sees them.

pub mod document;
pub mod export;
pub mod section;
pub mod source;
pub mod source_page;
