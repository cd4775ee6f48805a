//! What the played model says when nothing special is wanted.

pub use quire_testkit::model_server::{ModelServer as FakeModel, Reply, delta};

/// Two chapters with two sections each, in a fence.
pub const OUTLINE: &str = "```json\n{\"chapters\":[{\"title\":\"Paper\",\"sections\":[\"Rags\",\"Wood\"]},\
    {\"title\":\"Ink\",\"sections\":[\"Soot\",\"Oil\"]}]}\n```";
pub const KEYS: [&str; 4] = ["1.1", "1.2", "2.1", "2.2"];

/// Two chapters with three sections each: as many as six pages may have.
pub const LONGER_OUTLINE: &str = r#"{"chapters":[{"title":"Paper","sections":["Rags","Wood","Straw"]},
    {"title":"Ink","sections":["Soot","Oil","Gall"]}]}"#;
pub const LONGER_KEYS: [&str; 6] = ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3"];

/// The text of a section that has nothing special about it.
pub fn plain(key: &str) -> String {
    format!("The text of section {key}. It is *short*.")
}

/// Outline and plain sections.
pub fn willing(asked: &str, _: usize) -> Reply {
    match asked {
        "outline" => Reply::says(OUTLINE),
        key => Reply::says(&plain(key)),
    }
}
