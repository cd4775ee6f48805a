//! Who is calling: access tokens, the key set that verifies them, and service tokens.
