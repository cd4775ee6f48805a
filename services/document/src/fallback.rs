//! Which writers may step in when the one that was ordered cannot write: the customer decides, in this order.

use quire_fault::{Rule, Violation};

use crate::spec::Writer;

const FIELD: &str = "fallback_writers";
const MAX: usize = 3;

/// The broken rules of a list of names: only models that are offered, none twice, and not the writer itself. `writer`:
/// whom they stand in for, if that is known.
pub fn violations(names: &[String], writer: Option<Writer>, offered: &[Writer]) -> Vec<Violation> {
    let value = |field: &str, sentence: String| Violation::new(field, Rule::Value(sentence));
    if names.is_empty() {
        return Vec::new();
    }
    if names.len() > MAX {
        return vec![Violation::new(FIELD, Rule::TooLong(MAX.try_into().unwrap_or(i64::MAX)))];
    }
    if writer == Some(Writer::Digest) {
        let sentence = "the writer digest asks no model, so that nobody can stand in for it: leave it out";
        return vec![value(FIELD, sentence.to_owned())];
    }
    let accepted: Vec<&str> = offered
        .iter()
        .filter(|offered| offered.asks_a_model() && Some(**offered) != writer)
        .map(|offered| offered.name())
        .collect();
    let check = |(place, name): (usize, &String)| {
        let field = format!("{FIELD}.{place}");
        if writer.is_some_and(|writer| writer.name() == name) {
            return Some(value(&field, format!("{name} is the writer itself")));
        }
        if !accepted.contains(&name.as_str()) {
            return Some(match accepted.as_slice() {
                [] => value(&field, "no other model is set up here: leave it out".to_owned()),
                names => {
                    Violation::new(&field, Rule::Enum(names.iter().map(|name| (*name).to_owned()).collect()))
                }
            });
        }
        names[..place].contains(name).then(|| value(&field, format!("{name} is in the list already")))
    };
    names.iter().enumerate().filter_map(check).collect()
}

/// As it is stored.
pub fn to_text(writers: &[Writer]) -> String {
    writers.iter().map(|writer| writer.name()).collect::<Vec<_>>().join(",")
}

/// `None`: it is not one of ours.
pub fn from_text(text: &str) -> Option<Vec<Writer>> {
    text.split(',').filter(|name| !name.is_empty()).map(Writer::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(names: &[&str], writer: Option<Writer>, offered: &[Writer]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let violations = violations(&names, writer, offered);
        violations.iter().map(|broken| format!("{}: {}", broken.field, broken.rule.message())).collect()
    }

    #[test]
    fn only_other_models_may_stand_in_and_none_twice() {
        let openai = Some(Writer::OpenAi);
        assert!(broken(&["anthropic"], openai, &Writer::ALL).is_empty());
        assert!(broken(&[], Some(Writer::Digest), &[Writer::Digest]).is_empty());
        assert_eq!(
            broken(&["openai", "digest", "anthropic"], openai, &Writer::ALL),
            [
                "fallback_writers.0: Value error, openai is the writer itself",
                "fallback_writers.1: Input should be 'anthropic'",
            ]
        );
        assert_eq!(
            broken(&["anthropic", "anthropic"], openai, &Writer::ALL),
            ["fallback_writers.1: Value error, anthropic is in the list already"]
        );
        assert_eq!(
            broken(&["anthropic"], openai, &[Writer::Digest, Writer::OpenAi]),
            ["fallback_writers.0: Value error, no other model is set up here: leave it out"]
        );
        assert_eq!(broken(&["a", "b", "c", "d"], openai, &Writer::ALL).len(), 1);
        assert!(broken(&["openai"], Some(Writer::Digest), &Writer::ALL)[0].contains("leave it out"));
        // Whoever is the writer is told separately that there is no such one.
        assert_eq!(
            broken(&["x"], None, &Writer::ALL),
            ["fallback_writers.0: Input should be 'openai' or 'anthropic'"]
        );
    }

    #[test]
    fn what_is_stored_is_read_again() {
        for writers in [&[][..], &[Writer::Anthropic], &[Writer::Anthropic, Writer::OpenAi]] {
            assert_eq!(from_text(&to_text(writers)).unwrap(), writers);
        }
        assert_eq!(from_text("anthropic,nobody"), None);
    }
}
