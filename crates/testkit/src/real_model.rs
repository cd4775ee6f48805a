//! A real server of language models, if the surroundings name one.

/// An OpenAI-compatible endpoint.
pub struct RealModel {
    /// `http://localhost:11434/v1`.
    pub url: String,
    pub model: String,
    pub api_key: Option<String>,
}

/// What `QUIRE_TEST_MODEL_URL`, `QUIRE_TEST_MODEL` and, if the server wants one, `QUIRE_TEST_MODEL_API_KEY` name.
/// `None`, with one line printed, without them.
pub fn real_model() -> Option<RealModel> {
    let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(url), Some(model)) = (setting("QUIRE_TEST_MODEL_URL"), setting("QUIRE_TEST_MODEL")) else {
        crate::skip("model server", "QUIRE_TEST_MODEL_URL and QUIRE_TEST_MODEL are not both set");
        return None;
    };
    Some(RealModel { url, model, api_key: setting("QUIRE_TEST_MODEL_API_KEY") })
}
