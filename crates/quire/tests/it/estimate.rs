//! What a document will cost, asked before it is ordered.

use quire_testkit::Backend;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::system::System;

quire_testkit::on_both_databases!(an_estimate_is_given_or_says_what_it_needs);

/// Where each rule was broken, and which.
fn places(refused: &Answer) -> Vec<(Value, Value)> {
    let violations = refused.violations().into_iter();
    violations.map(|violation| (violation["loc"][1].clone(), violation["type"].clone())).collect()
}

async fn an_estimate_is_given_or_says_what_it_needs(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let estimate = ada.get("/generate/estimate-cost?pages=12&writer=digest").await.with_status(200).json();
    assert_eq!((&estimate["pages"], &estimate["cost_micro_usd"]), (&json!(12), &json!(0)));
    for (query, expected) in [
        ("", json!([["pages", "missing"], ["writer", "missing"]])),
        ("?writer=digest", json!([["pages", "missing"]])),
        ("?pages=0&writer=nobody", json!([["pages", "greater_than_equal"], ["writer", "enum"]])),
        ("?pages=ten&writer=digest", json!([["pages", "int_parsing"]])),
        ("?pages=100001&writer=digest", json!([["pages", "less_than_equal"]])),
    ] {
        let refused = ada.get(&format!("/generate/estimate-cost{query}")).await.with_status(422);
        assert_eq!(json!(places(&refused)), expected, "{query}");
    }
    system.client.get("/generate/estimate-cost?pages=12&writer=digest").await.with_status(401);
}
