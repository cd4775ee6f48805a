//! Two installations in one process: nothing is shared between them.

use quire_testkit::Backend;
use serde_json::json;

use crate::customer::Customer;
use crate::system::System;

quire_testkit::on_both_databases!(two_systems_in_one_process_know_nothing_of_each_other);

async fn two_systems_in_one_process_know_nothing_of_each_other(backend: Backend) {
    let (one, two) = tokio::join!(System::start(backend, &[]), System::start(backend, &[]));
    assert_ne!(one.client.gateway, two.client.gateway);
    let here = one.sign_in("ada@example.org").await;
    let there = two.sign_in("ada@example.org").await;
    assert_ne!(here.id, there.id);

    // A key of one opens nothing in the other.
    let stranger = Customer { client: two.client.clone(), ..here.clone() };
    stranger.get("/auth/me").await.with_status(401);
    two.client.refresh(&here.refresh).await.with_status(401);

    let (ours, theirs) = tokio::join!(here.short_document(), there.short_document());
    there.get(&format!("/documents/{ours}")).await.with_status(404);
    tokio::join!(here.buy(&ours), there.buy(&theirs));
    for (customer, document) in [(&here, &ours), (&there, &theirs)] {
        let list = customer.get("/documents").await.with_status(200).json();
        assert_eq!(list["documents"].as_array().unwrap().len(), 1);
        assert_eq!(list["documents"][0]["id"], document.as_str());
        assert_eq!(list["documents"][0]["status"], "completed");
    }

    // The end of one is not the end of the other.
    one.stop().await;
    let still = there.create_document(&json!({ "title": "Still here" })).await;
    assert_eq!(there.document(&still).await["status"], "draft");
    two.stop().await;
}
