//! What an operator can count.

use quire_serve::metrics::Metrics;
use quire_testkit::Backend;

use crate::harness::{Auth, DEVICE, Place, SECRET, reason, seconds, token_of};

#[tokio::test]
async fn refreshes_mails_and_prefetched_links_are_counted() {
    let place = Place::new(Backend::Sqlite).await;
    let metrics = Metrics::default();
    let mut config = place.config(true, SECRET, &[("QUIRE_MAIL_LIMIT", "2/hour")]);
    config.metrics = metrics.clone();
    let auth = Auth::start_config(&place, config).await;

    let token = auth.link_token("ada@example.org").await;
    // A scanner that presses the button has no verifier, or one of its own.
    for verifier in ["", &DEVICE.to_uppercase()] {
        assert_eq!(reason(auth.verify_as(verifier, &token, "").await), "MAGIC_LINK_INVALID");
    }
    assert_eq!(reason(auth.verify("unknown").await), "MAGIC_LINK_INVALID");
    let pair = auth.verify(&token).await.unwrap().tokens.unwrap();
    let next = auth.refresh(&pair.refresh_token).await.unwrap();
    auth.refresh(&pair.refresh_token).await.unwrap();
    auth.me(&next.access_token).await.unwrap();
    place.clock.advance(seconds(11));
    auth.refresh(&pair.refresh_token).await.unwrap_err();
    auth.refresh(&next.refresh_token).await.unwrap_err();
    auth.refresh("nonsense").await.unwrap_err();
    let other = auth.link_token("ada@example.org").await;
    assert_eq!(reason(auth.request_link("ada@example.org").await), "MAIL_LIMIT");
    auth.verify(&token_of(&format!("#token={other}"))).await.unwrap();
    auth.stop().await;

    let text = metrics.text().unwrap();
    for line in [
        "quire_auth_magic_link_prefetch_total 2",
        "quire_auth_refreshes_total{outcome=\"rotated\"} 1",
        "quire_auth_refreshes_total{outcome=\"repeated\"} 1",
        "quire_auth_refreshes_total{outcome=\"reused\"} 1",
        "quire_auth_refreshes_total{outcome=\"ended\"} 1",
        "quire_auth_refreshes_total{outcome=\"invalid\"} 1",
        "quire_auth_mails_total{kind=\"sign_in\",outcome=\"sent\"} 2",
        "quire_auth_mails_total{kind=\"sign_in\",outcome=\"refused\"} 1",
        "quire_auth_mails_total{kind=\"alert\",outcome=\"sent\"} 1",
        "quire_auth_limiter_refusals_total{policy=\"mail-hour\"} 1",
        "quire_auth_limiter_degraded 0.0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    let calls =
        "quire_auth_grpc_calls_total{service=\"quire.auth.v1.AuthService\",method=\"RefreshSession\",";
    assert!(text.contains(&format!("{calls}code=\"Ok\"}} 2\n")), "{text}");
    assert!(text.contains(&format!("{calls}code=\"Unauthenticated\"}} 3\n")), "{text}");
    assert!(!text.contains("example.org"), "{text}");
}
