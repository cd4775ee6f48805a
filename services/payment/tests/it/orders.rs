//! A customer sees all of their own orders and nobody else's.

use std::time::Duration;

use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use tonic::Code;

use crate::stage::Stage;

quire_testkit::on_both_databases!(
    somebody_elses_order_is_not_found,
    a_list_is_walked_page_by_page_newest_first,
);

async fn somebody_elses_order_is_not_found(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let mut client = server.client.clone();
    for (user, id) in [("eve", order.id.as_str()), ("ada", "unknown"), ("ada", "")] {
        let request = stage.as_user(user, pb::GetOrderRequest { order_id: id.to_owned() });
        assert_eq!(client.get_order(request).await.unwrap_err().code(), Code::NotFound);
    }
    let request = stage.as_user("eve", pb::ListOrdersRequest::default());
    assert!(client.list_orders(request).await.unwrap().into_inner().orders.is_empty());
    let status = client.get_order(pb::GetOrderRequest { order_id: order.id }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

async fn a_list_is_walked_page_by_page_newest_first(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let mut made = Vec::new();
    for place in 0..5 {
        stage.clock.advance(Duration::from_secs(1));
        made.push(stage.checkout(&server.client, &format!("document {place}")).await.unwrap());
    }
    made.reverse();
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = stage.as_user("ada", pb::ListOrdersRequest { page_size: 2, page_token });
        let page = server.client.clone().list_orders(request).await.unwrap().into_inner();
        assert!(page.orders.len() <= 2);
        listed.extend(page.orders);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, made);
    for (page_size, page_token) in [(-1, ""), (0, "not a token")] {
        let message = pb::ListOrdersRequest { page_size, page_token: page_token.to_owned() };
        let status = server.client.clone().list_orders(stage.as_user("ada", message)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
