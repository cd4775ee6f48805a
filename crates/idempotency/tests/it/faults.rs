//! What a client is told.

use quire_fault::{Kind, Rule};
use quire_testkit::Backend;

use crate::stage::{Stage, call};

quire_testkit::on_both_databases!(each_refusal_has_its_status, an_answer_says_whether_it_is_a_repetition);

async fn each_refusal_has_its_status(backend: Backend) {
    let stage = Stage::new(backend).await;
    for key in ["two words", "ünlaut", "nul\0", "line\n", &"k".repeat(256)] {
        let fault = stage.answer(call(key, "a cake"), "").await.unwrap_err().fault();
        assert_eq!((fault.kind, fault.kind.http().as_u16()), (Kind::Invalid, 422), "{key}");
        assert_eq!(fault.violations[0].field, "idempotency_key");
        assert!(matches!(&fault.violations[0].rule, Rule::Value(rule) if rule.contains("255")));
    }
    assert_eq!(stage.rows().await, 0);
    stage.answer(call(&"k".repeat(255), "a cake"), "").await.unwrap();

    stage.answer(call("key", "a cake"), "a cake").await.unwrap();
    let fault = stage.answer(call("key", "two cakes"), "").await.unwrap_err().fault();
    assert_eq!((fault.kind, fault.violations[0].field.as_str()), (Kind::Invalid, "idempotency_key"));

    stage.change("UPDATE idempotency_keys SET response = NULL, lease_until = 9000000000000000").await;
    let fault = stage.answer(call("key", "a cake"), "").await.unwrap_err().fault();
    assert_eq!((fault.kind, fault.kind.http().as_u16()), (Kind::Conflict, 409));
    assert_eq!(fault.reason, "IDEMPOTENCY_KEY_IN_USE");
    assert!(fault.retry_after.is_some());

    // What cannot be read again is our failure, and its text stays here.
    stage.change("UPDATE idempotency_keys SET response = '%%%'").await;
    let fault = stage.answer(call("key", "a cake"), "").await.unwrap_err().fault();
    assert_eq!((fault.kind, fault.message.as_str()), (Kind::Internal, "internal error"));
    stage.change("DROP TABLE idempotency_keys").await;
    let fault = stage.answer(call("key", "a cake"), "").await.unwrap_err().fault();
    assert_eq!((fault.kind, fault.message.as_str()), (Kind::Internal, "internal error"));
}

async fn an_answer_says_whether_it_is_a_repetition(backend: Backend) {
    let stage = Stage::new(backend).await;
    let first = stage.answer(call("key", "a cake"), "a cake").await.unwrap().into_response();
    assert!(first.metadata().get(quire_idempotency::REPLAYED).is_none());
    let again = stage.answer(call("key", "a cake"), "").await.unwrap().into_response();
    assert_eq!(again.metadata().get(quire_idempotency::REPLAYED).unwrap(), "true");
    assert_eq!(again.into_inner(), "a cake");
}
