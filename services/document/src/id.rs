//! What an id looks like.

/// Whether the text is written like the ids that are given out here: a UUID with hyphens. Anything else names
/// nothing, and is not looked for.
pub fn is_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_an_id() {
        assert!(is_id(&quire_clock::World::system().id()));
        for text in [
            "",
            "0199",
            "0199a5b2-7c3d-7e4f-8a1b-2c3d4e5f6a7",
            "0199a5b2-7c3d-7e4f-8a1b-2c3d4e5f6a7\0",
            "0199a5b207c3d07e4f08a1b02c3d4e5f6a7b",
            "0199a5b2-7c3d-7e4f-8a1b-2c3d4e5f6a7b0",
        ] {
            assert!(!is_id(text), "{text:?}");
        }
    }
}
