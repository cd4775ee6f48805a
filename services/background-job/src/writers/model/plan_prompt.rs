//! What the model is told when it shall plan.

use std::fmt::Write as _;

use super::ask::Message;
use super::outline::{Chapter, Section};
use super::passages::Passage;
use super::prompt::{brief, sources, system};
use crate::writer::Task;

/// Asks for the outline of a short document.
pub fn whole(task: &Task, sections: u32, passages: &[&Passage]) -> Vec<Message> {
    let mut ask = begin(task);
    if task.chapter_titles.is_empty() {
        let _ = writeln!(ask, "Divide it into chapters with about {sections} sections in all.");
    } else {
        let _ = writeln!(
            ask,
            "It has exactly these chapters, in this order, with about {sections} sections in all:"
        );
        wished(&mut ask, task);
    }
    sources(&mut ask, passages);
    ask.push_str(
        "\nAnswer with one JSON object and nothing else, in this form:\n\
         {\"chapters\":[{\"title\":\"...\",\"sections\":[{\"title\":\"...\",\"brief\":\"what it covers, and no other \
         section does, in one sentence\"}]}]}\n\
         Titles carry no numbers.",
    );
    vec![Message::system(system(task)), Message::user(ask)]
}

/// Asks for the chapters of a long document.
pub fn chapters(task: &Task, chapters: u32, passages: &[&Passage]) -> Vec<Message> {
    let mut ask = begin(task);
    if task.chapter_titles.is_empty() {
        let _ =
            writeln!(ask, "Divide it into about {chapters} chapters. Their sections are planned afterwards.");
    } else {
        ask.push_str(
            "It has exactly these chapters, in this order. Their sections are planned afterwards.\n",
        );
        wished(&mut ask, task);
    }
    let _ = writeln!(ask, "Share its {} pages out among them.", task.pages);
    sources(&mut ask, passages);
    ask.push_str(
        "\nAnswer with one JSON object and nothing else, in this form:\n\
         {\"chapters\":[{\"title\":\"...\",\"pages\":20,\"about\":\"what it covers, and no other chapter does, in one \
         sentence\"}]}\n\
         Titles carry no numbers.",
    );
    vec![Message::system(system(task)), Message::user(ask)]
}

/// Asks for so many more sections of one chapter, behind those that are planned.
pub fn chapter(
    task: &Task,
    chapters: &[Chapter],
    at: usize,
    (planned, asked): (&[Section], u32),
    passages: &[&Passage],
) -> Vec<Message> {
    let chapter = &chapters[at];
    let mut ask = String::new();
    let _ = writeln!(ask, "Divide chapter {} \"{}\" into sections.", at + 1, chapter.title);
    brief(&mut ask, task);
    ask.push_str("All chapters of the document:\n");
    for (number, chapter) in (1..).zip(chapters) {
        let _ = writeln!(ask, "{number} {}: {}", chapter.title, chapter.about);
    }
    if planned.is_empty() {
        let _ = writeln!(ask, "\nPlan about {asked} sections of this chapter.");
    } else {
        ask.push_str("\nIts first sections are planned:\n");
        for section in planned {
            let _ = writeln!(ask, "- {}", section.title);
        }
        let _ = writeln!(ask, "Plan about {asked} more that follow them.");
    }
    sources(&mut ask, passages);
    ask.push_str(
        "\nAnswer with one JSON object and nothing else, in this form:\n\
         {\"sections\":[{\"title\":\"...\",\"brief\":\"what it covers, and no other section does, in one \
         sentence\"}]}\n\
         Titles carry no numbers.",
    );
    vec![Message::system(system(task)), Message::user(ask)]
}

/// Asks to mend an outline.
pub fn mend(problem: &str) -> Message {
    Message::user(format!(
        "That cannot be used: {problem}. Answer with the corrected JSON object and nothing else."
    ))
}

fn begin(task: &Task) -> String {
    let mut ask = format!("Plan a document of {} pages.\n", task.pages);
    brief(&mut ask, task);
    ask
}

fn wished(ask: &mut String, task: &Task) {
    for title in &task.chapter_titles {
        let _ = writeln!(ask, "- {title}");
    }
}
