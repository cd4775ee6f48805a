//! Composes a cited digest from a customer's sources without a language model.
