//! Dump.
use std::io::Write;
fn main() {
    for path in std::env::args().skip(1) {
        let pages = pdf_extract::extract_text_by_pages(&path).expect("text");
        let name = std::path::Path::new(&path).file_name().expect("name").to_string_lossy().into_owned();
        let mut out = std::fs::File::create(format!("/tmp/digest-{name}.txt")).expect("create");
        for (i, page) in pages.iter().enumerate() {
            writeln!(out, "=====PAGE {}\n{}", i + 1, page).expect("write");
        }
    }
}
