//! The code of a mail: 40 random bits in eight characters, for typing.

use hmac::{Hmac, KeyInit, Mac};
use quire_clock::World;
use quire_identity::MasterSecret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Crockford's base32: no I, L, O or U, so that nothing can be misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 8;

/// Makes the stored form of codes. Forty bits could be guessed from a plain hash, so it is keyed.
#[derive(Clone)]
pub struct CodeKey([u8; 32]);

impl CodeKey {
    pub fn new(master: &MasterSecret) -> Self {
        Self(master.derive("auth magic link codes"))
    }

    /// The stored form, bound to the link it belongs to: in hexadecimal.
    pub fn mac(&self, link_id: &str, code: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(link_id.as_bytes());
        mac.update(b"\n");
        mac.update(code.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Whether a code is the link's. Takes the same time for every code.
    pub fn is(&self, link_id: &str, code: &str, stored: &str) -> bool {
        self.mac(link_id, code).as_bytes().ct_eq(stored.as_bytes()).into()
    }
}

/// A new code, without its dash.
pub fn fresh(world: &World) -> String {
    let bits = world.bytes::<LENGTH>();
    // 32 divides 256: every character is as likely as the others.
    bits.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// As it stands in the mail: `ABCD-2345`.
pub fn shown(code: &str) -> String {
    let (first, second) = code.split_at(LENGTH / 2);
    format!("{first}-{second}")
}

/// What a person typed, as it was made; `None` if it cannot be a code.
pub fn normalise(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let kept = typed.chars().filter(|character| !character.is_whitespace() && *character != '-');
    let code: String = kept
        .map(|character| match character.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect();
    let plain = code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte));
    plain.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_in_any_way() {
        let code = fresh(&World::system());
        assert_eq!(normalise(&shown(&code)).as_ref(), Some(&code));
        assert_eq!(normalise(&format!(" {} ", code.to_lowercase())).as_ref(), Some(&code));
        assert_eq!(normalise("oil0-abcd").as_deref(), Some("0110ABCD"));
        for wrong in ["", "1234567", "123456789", "1234-567U", "ÄBCD-1234"] {
            assert_eq!(normalise(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stored_code_is_good_for_its_own_link_only() {
        let key = CodeKey([7; 32]);
        let stored = key.mac("one", "ABCD2345");
        assert!(key.is("one", "ABCD2345", &stored));
        assert!(!key.is("two", "ABCD2345", &stored));
        assert!(!key.is("one", "ABCD2346", &stored));
    }
}
