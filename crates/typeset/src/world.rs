//! The closed world that Typst sees: one fixed template, one data file, the bundled fonts.

use typst::diag::{FileError, FileResult};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};

const TEMPLATE: &str = include_str!("template.typ");

/// What does not change between layouts: built once per process.
pub(crate) struct Stage {
    library: LazyHash<Library>,
    font_book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    template: Source,
    data_id: FileId,
}

impl Stage {
    pub fn new() -> Self {
        let fonts: Vec<Font> = typst_assets::fonts().flat_map(|data| Font::iter(Bytes::new(data))).collect();
        Self {
            library: LazyHash::new(Library::default()),
            font_book: LazyHash::new(FontBook::from_fonts(&fonts)),
            fonts,
            template: Source::new(file_id("template.typ"), TEMPLATE.to_owned()),
            data_id: file_id("book.json"),
        }
    }
}

/// The stage with the data of one book on it.
pub(crate) struct BookWorld<'a> {
    pub stage: &'a Stage,
    pub data: Bytes,
}

impl World for BookWorld<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.stage.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.stage.font_book
    }

    fn main(&self) -> FileId {
        self.stage.template.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.stage.template.id() { Ok(self.stage.template.clone()) } else { Err(absent(id)) }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.stage.data_id { Ok(self.data.clone()) } else { Err(absent(id)) }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.stage.fonts.get(index).cloned()
    }

    /// The template has no clock: the same book gives the same bytes.
    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None
    }
}

fn file_id(path: &str) -> FileId {
    let path = VirtualPath::new(path).expect("a constant path is valid");
    RootedPath::new(VirtualRoot::Project, path).intern()
}

fn absent(id: FileId) -> FileError {
    FileError::NotFound(id.get().vpath().get_with_slash().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_file_exists() {
        let stage = Stage::new();
        let world = BookWorld { stage: &stage, data: Bytes::new(b"{}".as_slice()) };
        assert!(world.file(file_id("book.json")).is_ok());
        assert!(world.source(file_id("template.typ")).is_ok());
        for path in ["etc/passwd", "template.typ", "other.json"] {
            assert!(matches!(world.file(file_id(path)), Err(FileError::NotFound(_))), "{path}");
        }
        assert!(world.source(file_id("book.json")).is_err());
        assert!(world.today(None).is_none());
    }
}
