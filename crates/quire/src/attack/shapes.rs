//! Scenarios 7 and 8: broken access tokens, and tokens of one kind where another belongs.

use serde_json::json;

use super::Attack;
use super::forge::flipped;
use super::headers::first_of;
use super::report::{Verdict, both, untried};
use super::session::Session;
use super::target::{CONCURRENCY, flood};
use super::tokens::{Genuine, forgery};

/// Quire's own tokens have about six hundred; a longer one is changed only as far as this.
const MAX_FLIPS: usize = 4096;
/// Characters of 32 of its 64 bytes.
const HALF_A_SIGNATURE: usize = 43;

pub(crate) async fn run(attack: &mut Attack, mut genuine: Genuine) {
    broken(attack, &genuine).await;
    mixed_up(attack, &mut genuine).await;
    if genuine.session.own {
        let verdict = attack.target.end(&genuine.session).await;
        attack.note(8, "the session of this run ends with its logout", verdict);
    }
}

async fn broken(attack: &mut Attack, genuine: &Genuine) {
    let token = &genuine.forger.genuine;
    let count = token.len().min(MAX_FLIPS);
    let outcomes =
        flood(CONCURRENCY, 0..count, async |position| attack.refuses(&flipped(token, position)).await);
    let outcomes = outcomes.await;
    attack.note(7, format!("each of its {count} characters changed, one at a time"), first_of(outcomes));
    let (without_signature, _) = token.rsplit_once('.').unwrap_or_default();
    let (header, _) = token.split_once('.').unwrap_or_default();
    let half = token.get(..token.len().saturating_sub(HALF_A_SIGNATURE)).unwrap_or_default();
    let garbage = ["A", "=", "==", ".", "%00"].map(|garbage| format!("{token}{garbage}"));
    let forgeries = vec![
        forgery("garbage at the end", garbage),
        forgery("four segments", [format!("{token}.AAAA"), format!("{header}.{token}")]),
        forgery("two segments", [without_signature.to_owned()]),
        forgery("one segment", [header.to_owned(), "A".to_owned()]),
        forgery("half a signature", [half.to_owned()]),
        forgery("the whole token twice", [format!("{token}{token}")]),
    ];
    attack.refuses_all(7, genuine, forgeries).await;
}

async fn mixed_up(attack: &mut Attack, genuine: &mut Genuine) {
    let forger = &genuine.forger;
    let claims = forger.claims(|_| {});
    let typed = |kind: Option<&str>| {
        let header = forger.header(|header| match kind {
            Some(kind) => drop(header.insert("typ".to_owned(), json!(kind))),
            None => drop(header.remove("typ")),
        });
        forger.both(&header, &claims)
    };
    let forgeries = vec![
        forgery("an access token of typ JWT", typed(Some("JWT"))),
        forgery("an access token of typ rt+jwt", typed(Some("rt+jwt"))),
        forgery("an access token without typ", typed(None)),
    ];
    attack.refuses_all(8, genuine, forgeries).await;

    let verdict = match &genuine.session.refresh {
        Some(refresh) => attack.refuses(refresh).await,
        None => Err(untried("needs --refresh-token")),
    };
    attack.note(8, "a refresh token as bearer", verdict);
    let verdict = link_as_bearer(attack).await;
    attack.note(8, "a link's token as bearer, after which the link still works", verdict);
    let verdict = refresh_with(attack, &genuine.session.access).await;
    attack.note(8, "an access token in place of a refresh token", verdict);
    let verdict = refresh(attack, genuine).await;
    attack.note(8, "control: the genuine refresh token is traded for a pair that works", verdict);
}

async fn link_as_bearer(attack: &mut Attack) -> Verdict {
    let email = attack.fresh_email();
    let link = attack.link(&email).await?;
    attack.refuses(&link.token).await?;
    let session = Session::opened_by(attack.target.verify(&link.by_token()).await?, None)?;
    attack.target.end(&session).await
}

async fn refresh_with(attack: &Attack, token: &str) -> Verdict {
    let request = attack.target.post("/auth/refresh", &json!({ "refresh_token": token }));
    attack.target.patiently(request).await?.is_refusal(401, "REFRESH_TOKEN_INVALID")
}

/// Afterwards both access tokens of the session work: a refresh must not break calls that are under way.
async fn refresh(attack: &Attack, genuine: &mut Genuine) -> Verdict {
    let session = &genuine.session;
    let Some(token) = session.refresh.as_ref().filter(|_| session.own) else {
        return Err(untried("it would spend the refresh token that was given"));
    };
    let request = attack.target.post("/auth/refresh", &json!({ "refresh_token": token }));
    let answer = attack.target.patiently(request).await?;
    let next = Session::opened_by(answer, Some(&session.user_id))?;
    let old = attack.control(genuine).await;
    let new = attack.target.takes(&next.access, &next.user_id).await.map(drop);
    genuine.session = next;
    both(old, new)
}
