#[path = "../tests/sample/mod.rs"]
mod sample;
use quire_manuscript::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: usize = args[1].parse().unwrap();
    let q: usize = args[2].parse().unwrap();
    let mut book = sample::book(n, q);
    if n < 20 {
        let md = "Some *emphasis*, **strong**, `code(x)` and a [link](https://example.org/a) in one paragraph that is long enough to wrap over the line end at least once, I hope.\n\nA second paragraph follows directly so that the indent can be seen. It says `#read(\"/etc/passwd\")` and #read(\"/etc/passwd\") \\$x\\$ \\*a\\* <b>.\n\n## Inner heading\n\n1. First item with quite a bit of text so that it wraps around the end of the line and shows its indent\n   - nested one\n   - nested two\n2. Second item\n\n- bullet\n- other\n\n```\nfn main() {\n    let very_long_line_of_code_that_needs_wrapping = \"because it is longer than the page is wide, really\";\n}\n```\n\n| Name | Value | Remark |\n|-|-|-|\n| a | 1 | some remark that is longer than the others and needs to wrap because the table is not so wide |\n| b | 2 | *x* |\n\nAfter the table.";
        let mut blocks = blocks_from_markdown(md);
        if let Block::Paragraph { inlines, .. } = &mut blocks[0] {
            inlines.push(Inline::Cite { cite: Cite { source: "source-2".into(), page: Some(3) } });
        }
        book.chapters[0].sections.insert(0, Section { title: None, blocks });
    }
    let t = std::time::Instant::now();
    let (r, layouts, limit) = match args.get(3) {
        Some(t) if t != "-" => { let f = quire_typeset::fit(&book, t.parse().unwrap()).unwrap(); (f.rendered, f.layouts, f.limit) }
        _ => (quire_typeset::render(&book).unwrap(), 1, None),
    };
    println!("{} pages {} bytes {} layouts {:?} in {:?}", r.pages, r.pdf.len(), layouts, limit, t.elapsed());
    println!("{:?}", &r.headings[..4.min(r.headings.len())]);
    std::fs::write("/tmp/look.pdf", r.pdf).unwrap();
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmPeak") || l.starts_with("VmHWM")).collect::<Vec<_>>().join(" "));
}
