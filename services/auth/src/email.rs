//! An e-mail address in the one form under which it is kept.

use lettre::Address;
use quire_fault::Rule;

/// RFC 5321 section 4.5.3.1.3: a path of 256 octets with its brackets.
const MAX_BYTES: usize = 254;

/// Trimmed, in lower case, and fit for a mail header. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email {
    text: String,
    address: Address,
}

impl Email {
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, Rule> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Rule::StringTooShort(1));
        }
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(Rule::Value("an e-mail address has no spaces or control characters".to_owned()));
        }
        let text = text.to_lowercase();
        if text.len() > MAX_BYTES {
            return Err(Rule::StringTooLong(MAX_BYTES as i64));
        }
        if text.matches('@').count() != 1 {
            return Err(Rule::Value("an e-mail address has exactly one @".to_owned()));
        }
        let not_an_address = |_| Rule::Value("this is not an e-mail address".to_owned());
        let address = text.parse::<Address>().map_err(not_an_address)?;
        Ok(Self { text, address })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Email(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_form_of_an_address() {
        assert_eq!(Email::parse(" Ada@Example.ORG\t").unwrap().as_str(), "ada@example.org");
        assert!(Email::parse("ada+quire@example.org").is_ok());
    }

    #[test]
    fn what_could_forge_a_header_or_is_no_address_is_refused() {
        let wrong = [
            "",
            "  ",
            "ada",
            "@example.org",
            "ada@",
            "ada@@example.org",
            "a@b@c",
            "ada@example.org\r\nBcc: eve@example.org",
            "ada\0@example.org",
            "ada love@example.org",
            "<ada@example.org>",
        ];
        for text in wrong {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
        assert!(Email::parse(&format!("a@{}.org", "x".repeat(254))).is_err());
    }

    #[test]
    fn a_debug_print_does_not_show_the_address() {
        assert!(!format!("{:?}", Email::parse("ada@example.org").unwrap()).contains("ada"));
    }
}
