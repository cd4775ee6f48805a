//! Blocked users, and what operators may do.

use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};
use tonic::Code;

use crate::harness::{Auth, Place, bearer, reason};

on_both_databases!(
    a_blocked_user_is_shut_out_at_once_and_may_be_let_in_again,
    only_an_operator_may_block_and_not_himself,
    users_are_listed_page_by_page,
);

const ADMIN: (&str, &str) = ("QUIRE_ADMIN_EMAILS", "root@example.org");

async fn a_blocked_user_is_shut_out_at_once_and_may_be_let_in_again(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[ADMIN]).await;
    let (ada, other) = (auth.sign_in("ada@example.org").await, auth.sign_in("ada@example.org").await);
    let root = auth.sign_in("root@example.org").await;
    let id = auth.me(&ada.access_token).await.unwrap().user.unwrap().id;
    let link = auth.link_token("ada@example.org").await;
    assert!(auth.block(&root.access_token, &id).await.unwrap().blocked);
    assert!(auth.block(&root.access_token, &id).await.unwrap().blocked, "twice is no error");

    for access in [&ada.access_token, &other.access_token] {
        let refused = auth.me(access).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(reason::<()>(Err(refused)), "USER_BLOCKED");
    }
    assert_eq!(reason(auth.refresh(&ada.refresh_token).await), "SESSION_ENDED");
    assert_eq!(reason(auth.verify(&link).await), "USER_BLOCKED");
    assert_eq!(auth.request_link("ada@example.org").await.unwrap(), 900, "the same answer for everybody");
    auth.next_line().await;

    assert!(!auth.unblock(&root.access_token, &id).await.unwrap().blocked);
    assert_eq!(reason(auth.me(&ada.access_token).await), "SESSION_ENDED", "what ended stays ended");
    let again = auth.sign_in("ada@example.org").await;
    assert!(auth.me(&again.access_token).await.is_ok());

    let all = pb::ListAuditEventsRequest {
        everybody: true,
        user_id: id,
        action: "user.".to_owned(),
        ..Default::default()
    };
    let events = auth.events(&root.access_token, all).await.unwrap().events;
    let actions: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["user.unblocked", "user.blocked"]);
    let root_id = auth.me(&root.access_token).await.unwrap().user.unwrap().id;
    assert!(events.iter().all(|event| event.actor_id == root_id));
    auth.stop().await;
}

async fn only_an_operator_may_block_and_not_himself(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[ADMIN]).await;
    let (ada, root) = (auth.sign_in("ada@example.org").await, auth.sign_in("root@example.org").await);
    let id = auth.me(&root.access_token).await.unwrap().user.unwrap().id;
    assert_eq!(reason(auth.block(&ada.access_token, &id).await), "ADMIN_REQUIRED");
    assert_eq!(reason(auth.block(&root.access_token, &id).await), "CANNOT_BLOCK_SELF");
    assert_eq!(reason(auth.block(&root.access_token, "nobody").await), "USER_NOT_FOUND");
    assert_eq!(reason(auth.unblock(&root.access_token, "no\0body").await), "USER_NOT_FOUND");
    // An operator who signed out is none.
    auth.logout(&root.access_token).await.unwrap();
    assert_eq!(reason(auth.block(&root.access_token, "nobody").await), "SESSION_ENDED");
    auth.stop().await;
}

async fn users_are_listed_page_by_page(backend: Backend) {
    let place = Place::new(backend).await;
    let auth = Auth::start_with(&place, &[ADMIN]).await;
    let root = auth.sign_in("root@example.org").await;
    for number in 0..5 {
        place.clock.advance(std::time::Duration::from_millis(1));
        auth.sign_in(&format!("{number}@example.org")).await;
    }
    let list = async |page_size, page_token: &str, email: &str| {
        let (page_token, email) = (page_token.to_owned(), email.to_owned());
        let request = bearer(&root.access_token, pb::ListUsersRequest { page_size, page_token, email });
        auth.client.clone().list_users(request).await.map(tonic::Response::into_inner)
    };
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = list(4, &token, "").await.unwrap();
        found.extend(page.users.into_iter().map(|user| user.email));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = (0..5).rev().map(|number| format!("{number}@example.org")).collect();
    assert_eq!(found[..5], expected[..]);
    assert_eq!(found[5], "root@example.org");
    let one = list(0, "", " 3@Example.org").await.unwrap().users;
    assert_eq!((one.len(), one[0].email.as_str()), (1, "3@example.org"));
    assert!(list(0, "", "nobody@example.org").await.unwrap().users.is_empty());
    assert_eq!(reason(list(0, "", "nonsense").await), "VALIDATION_FAILED");
    assert_eq!(reason(list(0, "!", "").await), "PAGE_TOKEN_INVALID");
    auth.stop().await;
}
