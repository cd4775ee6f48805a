//! Uploading, rereading and refusing source files.

use futures::TryStreamExt;
use quire_fault::{Kind, Rule};
use quire_proto::document::v1 as pb;
use quire_testkit::Backend;

use crate::house::{House, fault, fence, violations};

quire_testkit::on_both_databases!(
    every_kind_of_file_is_read_and_read_again,
    the_same_file_twice_is_one_source,
    a_file_that_is_too_large_is_refused_and_leaves_nothing,
    unreadable_files_are_named,
    a_stream_without_header_is_malformed,
    a_document_has_at_most_fifty_sources,
    the_sources_of_a_document_have_a_limit_together,
    a_draft_s_source_can_be_removed,
    too_many_pages_are_refused_with_the_honest_maximum,
    files_without_a_row_are_removed_at_start,
);

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../samples/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

async fn read_sources(house: &House, id: &str) -> Vec<pb::ReadSourcesResponse> {
    let message = pb::ReadSourcesRequest { document_id: id.to_owned() };
    let stream = house.client.clone().read_sources(house.job(message)).await.unwrap().into_inner();
    stream.try_collect().await.unwrap()
}

async fn every_kind_of_file_is_read_and_read_again(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    let files = [
        ("the-making-of-paper.pdf", "application/pdf", 15),
        (
            "how-a-book-is-bound.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            1,
        ),
        ("from-sheet-to-page.md", "text/markdown", 1),
        ("keeping-books-and-paper.txt", "text/plain", 1),
    ];
    for (name, media_type, pages) in files {
        house.clock.advance(std::time::Duration::from_millis(1));
        let bytes = sample(name);
        let source = house.upload(&id, name, &bytes).await.unwrap();
        assert_eq!((source.media_type.as_str(), source.pages), (media_type, pages));
        assert_eq!(source.size_bytes, i64::try_from(bytes.len()).unwrap());
        assert!(source.characters > 10_000, "{name}: {}", source.characters);
    }
    let listed = house.sources(&id).await;
    let names: Vec<&str> = listed.sources.iter().map(|source| source.file_name.as_str()).collect();
    assert_eq!(names, files.map(|(name, _, _)| name));
    assert!((6..60).contains(&listed.max_pages), "{}", listed.max_pages);

    let pages = read_sources(&house, &id).await;
    let numbers: Vec<i32> = pages.iter().map(|page| page.page).collect();
    assert_eq!(numbers, (1..=15).chain([1, 1, 1]).collect::<Vec<_>>());
    assert!(pages[..15].iter().all(|page| page.source_id == listed.sources[0].id));
    assert!(pages.iter().any(|page| page.text.contains("felted together as the water drained away")));
    let docx = &pages[15].text;
    assert!(docx.lines().any(|line| line.starts_with("## ") || line.starts_with("# ")), "no heading: {docx}");
    assert_eq!(pages[16].text, String::from_utf8(sample("from-sheet-to-page.md")).unwrap());
}

async fn the_same_file_twice_is_one_source(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    let text = b"Paper is made of fibres.";
    let (first, again) = tokio::join!(house.upload(&id, "a.txt", text), house.upload(&id, "b.txt", text));
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!(first, again);
    assert_eq!(house.upload(&id, "c.md", text).await.unwrap(), first);
    assert_eq!(house.sources(&id).await.sources.len(), 1);
    assert_eq!(house.stored_files().len(), 1);
    let other = house.draft(12).await.id;
    assert_ne!(house.upload(&other, "a.txt", text).await.unwrap().id, first.id);
}

async fn a_file_that_is_too_large_is_refused_and_leaves_nothing(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    let limit = 256 * 1024;
    let text = vec![b'a'; limit + 1];
    let refused = fault(house.upload(&id, "long.txt", &text).await);
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::TooLarge, "FILE_TOO_LARGE"));
    assert!(refused.message.contains("262144"), "{}", refused.message);
    assert!(house.stored_files().is_empty());
    assert!(house.sources(&id).await.sources.is_empty());
    house.upload(&id, "just.txt", &text[..limit]).await.unwrap();
}

async fn unreadable_files_are_named(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    let pdf = sample("the-making-of-paper.pdf");
    let cases: [(&str, &[u8], &str); 8] = [
        ("cut.pdf", &pdf[..2000], "cut.pdf: the PDF is damaged and cannot be read"),
        ("fake.pdf", b"just words", "fake.pdf: the content is not PDF, although the name says so"),
        ("fake.docx", b"PK\x03\x04 nothing", "fake.docx: the content is not DOCX, although the name says so"),
        ("really.txt", &pdf, "really.txt: the content is not text, although the name says so"),
        (
            "../../picture.txt",
            b"\x89PNG\0\0\0",
            "picture.txt: the file is not text in UTF-8, UTF-16 or Windows-1252",
        ),
        ("blank.md", b" \n ", "blank.md: the file has no text in it"),
        ("none.txt", b"", "none.txt: the file is empty"),
        ("table.xlsx", b"PK", "table.xlsx: only PDF, DOCX, TXT and Markdown files are read"),
    ];
    for (name, bytes, reason) in cases {
        let refused = violations(house.upload(&id, name, bytes).await);
        assert_eq!(refused, [format!("file: Value error, {reason}")]);
    }
    assert!(house.stored_files().is_empty());
    assert_eq!(house.sources(&id).await, pb::ListSourcesResponse::default());
}

async fn a_stream_without_header_is_malformed(backend: Backend) {
    use pb::upload_source_request::Part;
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    let header = || Part::Header(pb::SourceHeader { document_id: id.clone(), file_name: "a.txt".to_owned() });
    for parts in [vec![], vec![Part::Chunk(vec![1])], vec![header(), Part::Chunk(vec![b'a']), header()]] {
        let messages: Vec<_> =
            parts.into_iter().map(|part| pb::UploadSourceRequest { part: Some(part) }).collect();
        let stream = futures::stream::iter(messages);
        let refused = house.client.clone().upload_source(house.user("ada", stream)).await;
        assert_eq!(fault(refused).kind, Kind::Malformed);
    }
    let named = violations(house.upload(&id, " ", b"text").await);
    assert_eq!(named, ["file: String should have at least 1 character"]);
}

async fn a_document_has_at_most_fifty_sources(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    for number in 1..=50 {
        let text = format!("Sheet {number} is made of fibres.");
        house.upload(&id, "sheet.txt", text.as_bytes()).await.unwrap();
    }
    let refused = violations(house.upload(&id, "more.txt", b"One sheet more.").await);
    assert_eq!(refused, ["file: Value error, at most 50 sources belong to one document"]);
    house.upload(&id, "again.txt", b"Sheet 7 is made of fibres.").await.unwrap();
    assert_eq!(house.sources(&id).await.sources.len(), 50);
    assert_eq!(house.stored_files().len(), 50);
}

async fn the_sources_of_a_document_have_a_limit_together(backend: Backend) {
    let mut house = House::open(backend).await;
    house.max_characters = 50;
    house.restart().await;
    let id = house.draft(12).await.id;
    house.upload(&id, "a.txt", "Büttenpapier aus Lumpen.".as_bytes()).await.unwrap();
    house.upload(&id, "b.txt", b"Paper is made of fibres.").await.unwrap();
    let refused = violations(house.upload(&id, "c.txt", b"Ink").await);
    let limit = "the sources of a document have at most 50 characters together";
    assert_eq!(refused, [format!("file: Value error, {limit}")]);
    assert_eq!(house.stored_files().len(), 2);
    house.upload(&id, "d.txt", b"It").await.unwrap();
    house.upload(&id, "e.txt", b"Paper is made of fibres.").await.unwrap();
    assert_eq!(house.sources(&id).await.sources.len(), 3);
}

async fn a_draft_s_source_can_be_removed(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(12).await.id;
    let delete = |source: &pb::Source| {
        let message = pb::DeleteSourceRequest { document_id: id.clone(), source_id: source.id.clone() };
        let request = house.user("ada", message);
        let mut client = house.client.clone();
        async move { client.delete_source(request).await.map(|_| ()) }
    };
    let first = house.upload(&id, "a.txt", b"Paper is made of fibres.").await.unwrap();
    let second = house.upload(&id, "b.txt", b"Wood is made of fibres too.").await.unwrap();
    delete(&first).await.unwrap();
    assert_eq!(fault(delete(&first).await).reason, "SOURCE_NOT_FOUND");
    assert_eq!(house.sources(&id).await.sources, std::slice::from_ref(&second));
    assert_eq!(house.stored_files().len(), 1);
    house.attach(&id, "job-1").await.unwrap();
    assert_eq!(fault(delete(&second).await).reason, "DOCUMENT_STATE");
    assert_eq!(fault(house.upload(&id, "c.txt", b"Too late.").await).reason, "DOCUMENT_STATE");
}

async fn too_many_pages_are_refused_with_the_honest_maximum(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.draft(500).await.id;
    house.upload(&id, "the-making-of-paper.pdf", &sample("the-making-of-paper.pdf")).await.unwrap();
    let max_pages = house.sources(&id).await.max_pages;
    assert!((3..60).contains(&max_pages), "{max_pages}");
    let refused = fault(house.prepare("ada", &id).await);
    assert_eq!(refused.kind, Kind::Invalid);
    assert_eq!(refused.violations[0].field, "target_pages");
    assert_eq!(refused.violations[0].rule, Rule::LessThanEqual(i64::from(max_pages)));
    assert_eq!(refused.message, format!("the sources support at most {max_pages} pages"));
    assert_eq!(refused.metadata["max_pages"], max_pages.to_string());
    assert_eq!(house.status(&id).await, pb::DocumentStatus::Draft);

    // More sources support more, and the honest maximum can be ordered.
    house.upload(&id, "from-sheet-to-page.md", &sample("from-sheet-to-page.md")).await.unwrap();
    let more = house.sources(&id).await.max_pages;
    assert!(more > max_pages, "{more} is no more than {max_pages}");
    let spec = pb::DocumentSpec { target_pages: Some(more), ..pb::DocumentSpec::default() };
    house.update("ada", &id, spec).await.unwrap();
    house.prepare("ada", &id).await.unwrap();
}

async fn files_without_a_row_are_removed_at_start(backend: Backend) {
    let mut house = House::open(backend).await;
    let document = house.generating().await;
    let drafted = house.draft(12).await.id;
    house.upload(&drafted, "a.txt", b"Paper is made of fibres.").await.unwrap();
    house.put_export(&document.id, fence("job-1", 1), pb::ExportFormat::Pdf, b"%PDF-").await.unwrap();
    let kept = house.stored_files();
    let orphans =
        ["files/sources/gone/orphan", "incoming/half"].map(|path| house.data.path().join("quire").join(path));
    for orphan in &orphans {
        std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
        std::fs::write(orphan, "left behind").unwrap();
    }
    house.clock.advance(std::time::Duration::from_secs(2 * 3600));
    house.restart().await;
    // The sweep runs beside the service: it is waited for by its effect.
    let swept = async {
        while orphans.iter().any(|orphan| orphan.exists()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), swept).await.unwrap();
    assert_eq!(house.stored_files(), kept);
}
