//! The chained log of each order: whoever alters, drops or adds a row is found out.

use quire_payment::operator::verify_audit;
use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;

use crate::ledger::{count, tamper, texts};
use crate::settle::settle;
use crate::stage::Stage;

quire_testkit::on_both_databases!(every_change_of_the_log_is_found, the_log_tells_who_did_what);

/// Two orders with some history.
async fn some_history(stage: &Stage) -> [String; 2] {
    let server = stage.start().await;
    let client = &server.client;
    let mut ids = Vec::new();
    for document in ["one", "two"] {
        let order = stage.checkout(client, document).await.unwrap();
        stage.pay(&order).await;
        stage.sandbox.drained().await;
        stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
        let wish = stage.request_refund(client, &order.id, Some(100)).await.unwrap();
        stage.decide(client, &wish.id, true).await.unwrap();
        let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 100;
        stage.order_is(client, &order.id, refunded).await;
        settle(stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
        let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
        stage.order_is(client, &order.id, refunded).await;
        ids.push(order.id);
    }
    stage.sandbox.drained().await;
    ids.try_into().unwrap()
}

async fn every_change_of_the_log_is_found(backend: Backend) {
    let stage = Stage::new(backend).await;
    let [first, second] = some_history(&stage).await;
    let settings = stage.database_settings();
    let intact = verify_audit(&settings).await.unwrap();
    let rows = count(&stage, "audit").await;
    assert_eq!((intact.orders, i64::try_from(intact.rows).unwrap()), (2, rows));
    assert_eq!(intact.broken, Vec::<String>::new());
    let last = count(&stage, &format!("audit WHERE order_id = '{first}'")).await;
    assert!(last >= 6, "{last}");
    tamper(&stage, "CREATE TABLE kept AS SELECT * FROM audit").await;
    let row = |seq: i64| format!("order_id = '{first}' AND seq = {seq}");
    let columns = "id, order_id, from_status, to_status, actor, detail, at";
    let added = |seq: i64| {
        format!(
            "INSERT INTO audit ({columns}, seq, hash) SELECT 'added', order_id, from_status, to_status, actor, detail,
            at, {seq}, hash FROM audit WHERE {}",
            row(last)
        )
    };
    for (change, said) in [
        (
            format!("UPDATE audit SET actor = 'nobody' WHERE {}", row(3)),
            format!("row 3 of order {first} was altered"),
        ),
        (
            format!("UPDATE audit SET detail = '' WHERE {}", row(2)),
            format!("row 2 of order {first} was altered"),
        ),
        (
            format!("UPDATE audit SET at = at + 1 WHERE {}", row(last)),
            format!("row {last} of order {first} was altered"),
        ),
        (
            format!("UPDATE audit SET to_status = 'refunded' WHERE {}", row(1)),
            format!("row 1 of order {first} was altered"),
        ),
        (format!("DELETE FROM audit WHERE {}", row(3)), format!("row 3 of order {first} is missing")),
        (
            format!("DELETE FROM audit WHERE {}", row(last)),
            format!("the end of the log of order {first} is missing"),
        ),
        (
            format!("DELETE FROM audit WHERE order_id = '{first}'"),
            format!("the end of the log of order {first} is missing"),
        ),
        (
            format!("UPDATE audit SET order_id = '{second}' WHERE {}", row(last)),
            format!("the end of the log of order {first} is missing"),
        ),
        (added(last + 1), format!("row {} of order {first} was added", last + 1)),
        (added(4), format!("row 5 of order {first} is missing")),
    ] {
        tamper(&stage, &change).await;
        let broken = verify_audit(&settings).await.unwrap().broken;
        assert!(broken.contains(&said), "{change} gave {broken:?}");
        tamper(&stage, &format!("DELETE FROM audit; INSERT INTO audit ({columns}, seq, hash) SELECT {columns}, seq, hash FROM kept")).await;
        assert_eq!(verify_audit(&settings).await.unwrap().broken, Vec::<String>::new());
    }
}

async fn the_log_tells_who_did_what(backend: Backend) {
    let stage = Stage::new(backend).await;
    let [first, _] = some_history(&stage).await;
    let log = async |column: &str| {
        texts(&stage, &format!("SELECT {column} AS n FROM audit WHERE order_id = '{first}' ORDER BY seq"))
            .await
    };
    let steps = log("from_status || ' ' || to_status || ' ' || detail").await;
    let of_status: Vec<&String> =
        steps.iter().filter(|step| step.split(' ').next() != step.split(' ').nth(1)).collect();
    assert_eq!(of_status, ["open paid ", "paid refund_pending JOB_FAILED", "refund_pending refunded "]);
    let actors = log("actor").await;
    assert!(actors[0].starts_with("evt_"), "{actors:?}");
    for actor in ["ada", "root", "background-job"] {
        assert!(actors.iter().any(|there| there == actor), "{actor} is not in {actors:?}");
    }
    let details = log("detail").await;
    for detail in ["REFUND_REQUESTED", "REFUND_APPROVED", "JOB_FAILED"] {
        assert_eq!(details.iter().filter(|there| *there == detail).count(), 1, "{details:?}");
    }
    assert_eq!(details.iter().filter(|there| *there == "REFUND_SENT").count(), 2, "{details:?}");
}
