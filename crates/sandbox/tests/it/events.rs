//! The list of events.

use quire_sandbox::{SandboxConfig, Transit};
use serde_json::json;

use crate::receiver::Receiver;
use crate::shop::{Shop, config, id_of, ids};

#[tokio::test]
async fn events_are_listed_in_pages_from_either_side() {
    let shop = Shop::open().await;
    for _ in 0..2 {
        shop.paid().await;
    }
    let (_, all) = shop.get("/v1/events?limit=100").await;
    let all = ids(&all);
    assert_eq!(all.len(), 6);
    let (_, page) = shop.get(&format!("/v1/events?limit=2&ending_before={}", all[5])).await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[3..5], &json!(true)));
    let (_, page) = shop.get(&format!("/v1/events?limit=3&ending_before={}", all[3])).await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[0..3], &json!(false)));
    let (_, page) = shop.get(&format!("/v1/events?limit=2&starting_after={}", all[1])).await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[2..4], &json!(true)));
    let (_, page) = shop.get("/v1/events?type=charge.succeeded&limit=1").await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[2..3], &json!(true)));
    let (_, event) = shop.get(&format!("/v1/events/{}", all[0])).await;
    assert_eq!(id_of(&event), all[0]);
    let (status, _) = shop.get("/v1/events?limit=0").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_was_never_delivered_can_be_listed() {
    let mut receiver = Receiver::start().await;
    let shop = Shop::open_with(SandboxConfig { webhook_url: Some(receiver.url.clone()), ..config() }).await;
    shop.expired().await;
    receiver.next().await;
    shop.sandbox.drained().await;
    shop.sandbox.set_transit(Transit { lose_first: 1, give_up: true, ..Transit::default() });
    shop.expired().await;
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());

    let (_, all) = shop.get("/v1/events").await;
    let all = ids(&all);
    let (_, missed) = shop.get("/v1/events?delivery_success=false").await;
    assert_eq!((ids(&missed), &missed["data"][0]["pending_webhooks"]), (all[..1].to_vec(), &json!(0)));
    let (_, taken) = shop.get("/v1/events?delivery_success=true").await;
    assert_eq!(ids(&taken), all[1..]);
    let (status, _) = shop.get("/v1/events?delivery_success=maybe").await;
    assert_eq!(status, 400);

    // The list ends behind the event that the merchant has seen.
    let path = format!("/v1/events?delivery_success=false&ending_before={}", all[1]);
    assert_eq!(ids(&shop.get(&path).await.1), all[..1]);
    shop.sandbox.set_transit(Transit::default());
    shop.sandbox.resend(&all[0]).await.unwrap();
    assert_eq!(id_of(&receiver.next().await.event()), all[0]);
    shop.sandbox.drained().await;
    let (_, missed) = shop.get("/v1/events?delivery_success=false").await;
    assert_eq!(missed["data"], json!([]));
    assert_eq!(shop.sandbox.resend("evt_none").await.unwrap_err().code, "resource_missing");
}

#[tokio::test]
async fn events_are_found_by_their_time() {
    let shop = Shop::open().await;
    shop.expired().await;
    shop.clock.advance(std::time::Duration::from_secs(10));
    shop.expired().await;
    let (_, all) = shop.get("/v1/events").await;
    let created: Vec<i64> =
        all["data"].as_array().unwrap().iter().map(|event| event["created"].as_i64().unwrap()).collect();
    assert_eq!(created[0] - created[1], 10);
    let all = ids(&all);
    for (bound, found) in [
        (format!("created[gt]={}", created[1]), &all[..1]),
        (format!("created[gte]={}", created[1]), &all[..]),
        (format!("created[lt]={}", created[0]), &all[1..]),
        (format!("created[lte]={}&created[gt]={}", created[0], created[0]), &[]),
    ] {
        assert_eq!(ids(&shop.get(&format!("/v1/events?{bound}")).await.1), found, "{bound}");
    }
}
