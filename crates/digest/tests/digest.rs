//! The whole way from sources to sections, on made-up sources that every run can check.

use std::collections::HashSet;

use quire_digest::{
    Assignment, Corpus, DigestError, PageMetrics, Plan, PlanRequest, SourceText, assign, disclosure,
    is_verbatim, plan, references, write_section,
};
use quire_manuscript::{Block, Chapter, Inline};

const TOPICS: [(&str, [&str; 6]); 8] = [
    ("Lighthouse lamps", ["lamp", "lens", "beacon", "mirror", "flame", "keeper"]),
    ("Harbour pilots", ["pilot", "harbour", "channel", "cutter", "anchor", "quay"]),
    ("Tidal currents", ["tide", "current", "estuary", "flood", "ebb", "moon"]),
    ("Storm signals", ["storm", "signal", "barometer", "gale", "cone", "flag"]),
    ("Fishing grounds", ["herring", "trawl", "shoal", "net", "bank", "catch"]),
    ("Sea charts", ["chart", "sounding", "compass", "meridian", "scale", "survey"]),
    ("Salt works", ["salt", "brine", "pan", "kiln", "crystal", "barrel"]),
    ("Ship timber", ["oak", "keel", "plank", "mast", "frame", "shipwright"]),
];
const ADJECTIVES: [&str; 12] = [
    "ancient", "brittle", "careful", "distant", "eastern", "famous", "gentle", "heavy", "idle", "jagged",
    "lasting", "modest",
];
const VERBS: [&str; 10] = [
    "guides",
    "follows",
    "outlasts",
    "protects",
    "measures",
    "replaces",
    "carries",
    "announces",
    "surrounds",
    "divides",
];
const PLACES: [&str; 10] =
    ["Arran", "Bergen", "Calais", "Dover", "Esbjerg", "Falmouth", "Gdansk", "Hamburg", "Iona", "Jura"];

/// Sources with a heading and three pages for each topic, every sentence different.
fn sources(count: usize) -> Vec<SourceText> {
    let mut state = 7_u64;
    let mut next = move |below: usize| {
        // Knuth's MMIX generator: enough to mix words.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..count)
        .map(|number| {
            let mut pages = Vec::new();
            for (topic, (title, nouns)) in TOPICS.iter().enumerate() {
                for part in 0..3 {
                    let mut page = String::new();
                    if part == 0 {
                        page += &format!("{}.{} {title}\n\n", number + 1, topic + 1);
                    }
                    for _ in 0..4 {
                        for _ in 0..4 {
                            page += &format!(
                                "The {} {} of {} {} every {} {} near the {} {} while a {} {} waits in {}.\n",
                                ADJECTIVES[next(12)],
                                nouns[next(6)],
                                PLACES[next(10)],
                                VERBS[next(10)],
                                ADJECTIVES[next(12)],
                                nouns[next(6)],
                                ADJECTIVES[next(12)],
                                nouns[next(6)],
                                ADJECTIVES[next(12)],
                                nouns[next(6)],
                                PLACES[next(10)],
                            );
                        }
                        page.push('\n');
                    }
                    pages.push(page);
                }
            }
            SourceText {
                id: format!("source-{number}"),
                title: format!("Handbook {number}"),
                pages,
                has_pages: true,
            }
        })
        .collect()
}

fn request(pages: u32) -> PlanRequest<'static> {
    PlanRequest { title: "Harbours and tides", target_pages: pages, ..PlanRequest::default() }
}

fn chapters(corpus: &Corpus, plan: &Plan, assignment: &Assignment) -> Vec<Chapter> {
    let write = |key: &str| write_section(corpus, plan, assignment, key).expect("the assignment is fresh");
    let chapter = |chapter: &quire_digest::PlannedChapter| Chapter {
        title: chapter.title.clone(),
        sections: chapter.sections.iter().map(|section| write(&section.key)).collect(),
    };
    plan.chapters.iter().map(chapter).collect()
}

fn characters(blocks: &[Block]) -> usize {
    let quoted = |block: &Block| {
        if let Block::Quote { text, .. } = block { text.chars().count() } else { 0 }
    };
    blocks.iter().map(quoted).sum()
}

#[test]
fn every_quotation_stands_on_its_page_and_none_comes_twice() {
    let sources = sources(3);
    let corpus = Corpus::build(&sources);
    let plan = plan(&corpus, &request(20), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let mut seen = HashSet::new();
    let mut quotations = 0;
    for block in chapters(&corpus, &plan, &assignment)
        .iter()
        .flat_map(|chapter| &chapter.sections)
        .flat_map(|section| &section.blocks)
    {
        let Block::Quote { text, cite, .. } = block else {
            continue;
        };
        let source = sources.iter().find(|source| source.id == cite.source).unwrap();
        assert!(is_verbatim(&source.pages[cite.page.unwrap() as usize - 1], text), "{text}");
        assert!(
            text.split_inclusive(". ").all(|sentence| seen.insert(sentence.trim().to_owned())),
            "twice: {text}"
        );
        quotations += 1;
    }
    assert!(quotations > 50, "{quotations}");
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let bytes = || {
        let corpus = Corpus::build(&sources(2));
        let plan = plan(&corpus, &request(15), &PageMetrics::default());
        let assignment = assign(&corpus, &plan);
        serde_json::to_vec(&(chapters(&corpus, &plan, &assignment), plan, assignment)).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn plan_and_assignment_survive_storage_between_two_sections() {
    let corpus = Corpus::build(&sources(2));
    let plan = plan(&corpus, &request(12), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let stored = serde_json::to_string(&(&plan, &assignment)).unwrap();
    let rebuilt = Corpus::build(&sources(2));
    let (plan_again, assignment_again): (Plan, Assignment) = serde_json::from_str(&stored).unwrap();
    for key in plan.keys() {
        let first = write_section(&corpus, &plan, &assignment, key);
        assert_eq!(first, write_section(&rebuilt, &plan_again, &assignment_again, key));
    }
}

#[test]
fn sections_are_filled_evenly_up_to_the_capacity() {
    let corpus = Corpus::build(&sources(3));
    let metrics = PageMetrics::default();
    let capacity = corpus.capacity(&metrics);
    assert!(capacity.max_pages > 20, "{capacity:?}");
    for pages in [4, 12, capacity.max_pages] {
        let plan = plan(&corpus, &request(pages), &metrics);
        let assignment = assign(&corpus, &plan);
        let sections: Vec<_> = plan.chapters.iter().flat_map(|chapter| &chapter.sections).collect();
        let budget: u64 = sections.iter().map(|section| u64::from(section.character_budget)).sum();
        assert_eq!(budget, metrics.budget(pages));
        assert!(assignment.characters(&corpus) * 100 >= budget * 95, "{pages} pages");
        for section in sections {
            let blocks = write_section(&corpus, &plan, &assignment, &section.key).unwrap().blocks;
            assert!(
                characters(&blocks) * 100 >= section.character_budget as usize * 80,
                "{pages} pages, {}",
                section.key
            );
        }
    }
}

#[test]
fn trimming_takes_from_all_sections_and_leaves_no_loose_line() {
    let corpus = Corpus::build(&sources(3));
    let plan = plan(&corpus, &request(20), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let chapters = chapters(&corpus, &plan, &assignment);
    let sections: Vec<_> = chapters.iter().flat_map(|chapter| &chapter.sections).collect();
    let mut ranks: Vec<u32> = sections
        .iter()
        .flat_map(|section| &section.blocks)
        .filter(|block| matches!(block, Block::Quote { .. }))
        .filter_map(Block::optional)
        .collect();
    ranks.sort_unstable();
    let expected: Vec<u32> = (0..ranks.len() as u32).collect();
    assert_eq!(ranks, expected, "ranks of quotations are unique over the document");
    let before: usize = sections.iter().map(|section| characters(&section.blocks)).sum();
    let mut after = 0;
    for section in &sections {
        let kept: Vec<Block> =
            section.blocks.iter().filter(|block| block.optional().is_none()).cloned().collect();
        assert!(section.blocks.len() > kept.len(), "every section gives something up");
        assert!(matches!(kept[0], Block::Paragraph { .. }), "the opening line stays");
        assert!(matches!(kept.last(), Some(Block::Quote { .. })));
        assert!(
            kept.windows(2)
                .all(|pair| matches!(pair[1], Block::Quote { .. }) || matches!(pair[0], Block::Quote { .. }))
        );
        let unnamed = kept.windows(2).any(|pair| {
            matches!(pair, [Block::Quote { cite: one, .. }, Block::Quote { cite: other, .. }] if one.source != other.source)
        });
        assert!(!unnamed, "a source takes over without a line that names it");
        after += characters(&kept);
    }
    assert!(after * 100 > before * 60 && after * 100 < before * 85, "{after} of {before}");
}

#[test]
fn no_source_of_many_carries_the_document_alone() {
    let sources = sources(5);
    let corpus = Corpus::build(&sources);
    let plan = plan(&corpus, &request(20), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let written = chapters(&corpus, &plan, &assignment);
    let blocks: Vec<Block> =
        written.into_iter().flat_map(|chapter| chapter.sections).flat_map(|section| section.blocks).collect();
    let total = characters(&blocks);
    for source in &sources {
        let own: Vec<Block> = blocks
            .iter()
            .filter(|block| block.cites().iter().any(|cite| cite.source == source.id))
            .cloned()
            .collect();
        assert!(characters(&own) * 100 <= total * 55, "{} of {total} from {}", characters(&own), source.id);
    }
    assert!(references(&corpus, &plan, &assignment).len() >= 3);
}

#[test]
fn a_customers_outline_is_kept_and_each_chapter_gets_its_matter() {
    let corpus = Corpus::build(&sources(2));
    let outline =
        ["1. Salt works", "2. The sea", "2.1 Tidal currents", "2.2 Storm signals", "3. Ship timber"]
            .map(str::to_owned);
    let plan = plan(&corpus, &PlanRequest { outline: &outline, ..request(11) }, &PageMetrics::default());
    let titles: Vec<&str> = plan.chapters.iter().map(|chapter| chapter.title.as_str()).collect();
    assert_eq!(titles, ["Salt works", "The sea", "Ship timber"]);
    assert_eq!(plan.section("2.2").unwrap().title.as_deref(), Some("Storm signals"));
    let assignment = assign(&corpus, &plan);
    for (key, words) in [("1.1", TOPICS[6].1), ("2.2", TOPICS[3].1), ("3.1", TOPICS[7].1)] {
        let blocks = write_section(&corpus, &plan, &assignment, key).unwrap().blocks;
        let quotes: Vec<&String> = blocks
            .iter()
            .filter_map(|block| if let Block::Quote { text, .. } = block { Some(text) } else { None })
            .collect();
        let fitting = quotes.iter().filter(|text| words.iter().any(|word| text.contains(word))).count();
        assert!(fitting * 10 >= quotes.len() * 9, "{key}: {fitting} of {}", quotes.len());
    }
}

#[test]
fn an_outline_is_proposed_from_headings_and_without_them_from_the_words() {
    let corpus = Corpus::build(&sources(3));
    let proposed = plan(&corpus, &request(20), &PageMetrics::default());
    let known: HashSet<&str> = TOPICS.iter().map(|(title, _)| *title).collect();
    assert!(proposed.chapters.iter().all(|chapter| known.contains(chapter.title.as_str())), "{proposed:?}");
    let mut bare = sources(3);
    for page in bare.iter_mut().flat_map(|source| &mut source.pages) {
        *page =
            page.lines().filter(|line| line.ends_with('.') || line.is_empty()).collect::<Vec<_>>().join("\n");
    }
    let clustered = plan(&Corpus::build(&bare), &request(14), &PageMetrics::default());
    assert!(clustered.chapters.len() >= 3, "{clustered:?}");
    assert!(clustered.chapters.iter().all(|chapter| !chapter.title.is_empty()));
}

#[test]
fn more_pages_make_more_sections_and_chapters_stay_small() {
    let corpus = Corpus::build(&sources(5));
    let count = |pages| plan(&corpus, &request(pages), &PageMetrics::default()).keys().len();
    assert!(count(6) < count(16), "{} {}", count(6), count(16));
    let large = plan(&corpus, &request(30), &PageMetrics::default());
    assert!(large.chapters.iter().all(|chapter| (1..=4).contains(&chapter.sections.len())));
}

#[test]
fn a_source_without_pages_is_cited_without_one() {
    let mut sources = sources(1);
    sources[0].pages = vec![sources[0].pages.join("\n")];
    sources[0].has_pages = false;
    let corpus = Corpus::build(&sources);
    let plan = plan(&corpus, &request(6), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let section = write_section(&corpus, &plan, &assignment, plan.keys()[0]).unwrap();
    let cites: Vec<_> = section.blocks.iter().flat_map(Block::cites).collect();
    assert!(!cites.is_empty() && cites.iter().all(|cite| cite.page.is_none()));
    assert_eq!(references(&corpus, &plan, &assignment)[0].text, "“Handbook 0”. Text without page numbers.");
}

#[test]
fn connecting_lines_name_the_source_and_do_not_stand_before_every_quotation() {
    let corpus = Corpus::build(&sources(2));
    let plan = plan(&corpus, &request(12), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let section = write_section(&corpus, &plan, &assignment, plan.keys()[0]).unwrap();
    let lines: Vec<&str> = section
        .blocks
        .iter()
        .filter_map(|block| if let Block::Paragraph { inlines, .. } = block { inlines.first() } else { None })
        .filter_map(|inline| if let Inline::Text { text } = inline { Some(text.as_str()) } else { None })
        .collect();
    assert!(!lines.is_empty() && lines.len() * 2 < section.blocks.len());
    assert!(lines[0].contains("“Handbook"), "{lines:?}");
}

#[test]
fn an_assignment_for_other_sources_is_refused() {
    let corpus = Corpus::build(&sources(2));
    let plan = plan(&corpus, &request(12), &PageMetrics::default());
    let assignment = assign(&corpus, &plan);
    let other = Corpus::build(&[]);
    let key = plan.keys()[0];
    assert_eq!(write_section(&other, &plan, &assignment, key), Err(DigestError::Mismatch(key.to_owned())));
    assert_eq!(
        write_section(&corpus, &plan, &assignment, "9.9"),
        Err(DigestError::UnknownSection("9.9".to_owned()))
    );
}

#[test]
fn the_disclosure_speaks_the_documents_language() {
    assert!(disclosure("en").starts_with("Composed without a language model"));
    assert!(disclosure("ru").contains("без языковой модели"));
    assert_eq!(disclosure("pt"), disclosure("en"));
}
