//! Limits as customers and operators meet them.

use quire_testkit::Backend;
use serde_json::json;

use crate::system::{OPERATOR, System};

quire_testkit::on_both_databases!(
    a_signed_in_user_has_a_limit_of_the_own,
    an_operator_sees_how_much_of_a_limit_is_used,
);

async fn a_signed_in_user_has_a_limit_of_the_own(backend: Backend) {
    // Counted in the process: a Redis that answers late on a busy machine would let one more through.
    let system = System::start(backend, &[("QUIRE_LIMIT_API", "3/hour"), ("REDIS_URL", "")]).await;
    let (ada, bob) = (system.sign_in("ada@example.org").await, system.sign_in("bob@example.org").await);
    for _ in 0..3 {
        ada.get("/auth/me").await.with_status(200);
    }
    let refused = ada.get("/documents").await.with_status(429);
    assert_eq!(refused.reason(), "RATE_LIMITED");
    assert!(refused.header("ratelimit-policy").contains("\"api-hour\";q=3;w=3600"), "{:?}", refused.headers);
    bob.get("/documents").await.with_status(200);
    system.stop().await;
}

async fn an_operator_sees_how_much_of_a_limit_is_used(backend: Backend) {
    let limits = [("QUIRE_LIMIT_REFRESH", "5/minute, 20/hour shadow"), ("REDIS_URL", "")];
    let system = System::start(backend, &limits).await;
    let (ada, root) = (system.sign_in("ada@example.org").await, system.sign_in(OPERATOR).await);
    for _ in 0..2 {
        system.client.refresh("nonsense").await.with_status(401);
    }
    let path = "/admin/limits?route=refresh&address=127.0.0.1";
    ada.get(path).await.with_status(403);
    for _ in 0..2 {
        let explained = root.get(path).await.with_status(200).json();
        assert_eq!(explained["source"], "local");
        let policies = explained["policies"].as_array().unwrap();
        assert_eq!(policies.len(), 2, "{explained}");
        assert_eq!((&policies[0]["remaining"], &policies[0]["quota"]), (&json!(3), &json!(5)));
        assert_eq!((&policies[1]["shadow"], &policies[1]["remaining"]), (&json!(true), &json!(18)));
    }
    let mail = root.get("/admin/limits?route=mail&email=ada@example.org").await.with_status(200).json();
    assert_eq!(mail["policies"][0]["by"], "mailbox", "{mail}");
    assert_eq!(root.get("/admin/limits?route=nothing").await.with_status(422).violation()["loc"][1], "route");
    root.get("/admin/limits?route=refresh").await.with_status(422);
    system.stop().await;
}
