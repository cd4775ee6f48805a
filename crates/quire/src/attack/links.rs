//! Scenarios 18 to 20: who a mailed link lets in, and how often.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Attack;
use super::answer::Answer;
use super::report::{Finding, Verdict, both, untried, wrong};
use super::session::{Link, Session};
use super::target::flood;

/// What every refused link and code is told.
pub(crate) const REFUSED: &str = "MAGIC_LINK_INVALID";
/// Callers that use one link at the same moment.
const RACERS: usize = 20;
/// How often a race is run again when a limit stopped all of them.
const RACES: usize = 3;
/// What the limit of the route should leave for the race.
const ROOM: u32 = 10;
/// How often a scanner opens a link, each way.
const SCANS: usize = 5;
/// A link that lives longer is not waited for.
const SHORT_LIFE: u64 = 60;

pub(crate) async fn run(attack: &mut Attack) {
    if attack.mailbox.is_none() {
        for row in 18..=22 {
            attack.note(row, "what a mailed link does", Err(untried("needs --mail-dir")));
        }
        return;
    }
    let verdict = race(attack).await;
    attack.note_measured(18, "of twenty callers with one link exactly one gets in", verdict);
    scanner(attack).await;
    dead_links(attack).await;
    super::codes::run(attack).await;
    super::enumeration::run(attack).await;
}

impl Attack {
    /// A link or code that is refused as all others are.
    pub(crate) async fn refuses_link(&self, body: &Value) -> Verdict<Answer> {
        let answer = self.target.verify(body).await?;
        answer.is_refusal(401, REFUSED)?;
        Ok(answer)
    }

    /// A link that works for whoever asked for it: what a server that refuses every link does not get past.
    pub(crate) async fn lets_in(&self, body: &Value) -> Verdict {
        let session = Session::opened_by(self.target.verify(body).await?, None)?;
        self.target.takes(&session.access, &session.user_id).await?;
        self.target.end(&session).await
    }

    /// A token that no link has, for a limit to count.
    pub(crate) fn unknown_link(&self) -> Value {
        json!({ "token": self.secret(), "verifier": self.secret() })
    }
}

async fn race(attack: &mut Attack) -> Verdict<String> {
    let email = attack.fresh_email();
    let link = attack.link(&email).await?;
    for _ in 0..RACES {
        let unknown = || attack.target.post("/auth/verify-magic-link", &attack.unknown_link());
        attack.target.with_room(ROOM, unknown).await?.is_refusal(401, REFUSED)?;
        let answers = start_together(attack, &link).await?;
        let limited: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
        if limited.len() == RACERS {
            let wait = limited.iter().filter_map(|answer| answer.retry_after()).max();
            attack.target.wait(wait.ok_or_else(|| wrong("answered 429 without Retry-After"))?).await?;
            continue;
        }
        let through = RACERS - limited.len();
        judge(attack, &link, answers).await?;
        if through < 2 {
            return Err(untried("the limit of the route let only one of them through"));
        }
        return Ok(if through == RACERS {
            String::new()
        } else {
            format!("the limit of the route let {through} of them through")
        });
    }
    Err(untried("the limit of the route stopped all of them each time"))
}

async fn start_together(attack: &Attack, link: &Link) -> Verdict<Vec<Answer>> {
    // Connections are made before, so that all requests arrive in one moment.
    flood(RACERS, 0..RACERS, async |_| attack.target.send(attack.target.page(Method::GET, "/livez")).await)
        .await;
    let barrier = Arc::new(Barrier::new(RACERS));
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (target, barrier, body) = (attack.target.clone(), barrier.clone(), link.by_token());
        racers.spawn(async move {
            let request = target.post("/auth/verify-magic-link", &body);
            barrier.wait().await;
            target.send(request).await
        });
    }
    racers.join_all().await.into_iter().collect()
}

async fn judge(attack: &Attack, link: &Link, answers: Vec<Answer>) -> Verdict {
    let mut winners = Vec::new();
    for answer in answers {
        match answer.status {
            200 => winners.push(answer),
            429 => {}
            _ => answer.is_refusal(401, REFUSED)?,
        }
    }
    let count = winners.len();
    let winner = winners.pop().filter(|_| count == 1);
    let winner = winner.ok_or_else(|| wrong(format!("{count} were answered 200, expected 1")))?;
    let session = Session::opened_by(winner, None)?;
    attack.target.takes(&session.access, &session.user_id).await?;
    attack.refuses_link(&link.by_token()).await?;
    attack.target.end(&session).await
}

async fn scanner(attack: &mut Attack) {
    let email = attack.fresh_email();
    let link = match attack.link(&email).await {
        Ok(link) => link,
        Err(finding) => return attack.note(19, "a link to open", Err(finding)),
    };
    let verdict = opens(attack, &link).await;
    attack.note(19, "opening the link gives no session", verdict);
    let verdict = attack.refuses_link(&json!({ "token": link.token })).await.map(drop);
    attack.note(19, "its token without the verifier is refused", verdict);
    let stolen = json!({ "token": link.token, "verifier": attack.secret() });
    let verdict = attack.refuses_link(&stolen).await.map(drop);
    attack.note(19, "its token with another verifier is refused", verdict);
    let verdict = attack.lets_in(&link.by_token()).await;
    attack.note(19, "after all that the link lets in whoever asked for it", verdict);
}

/// As mail scanners do: they follow the link, with and without what they add to it. The token is also sent where
/// a server that is not Quire would read it.
async fn opens(attack: &Attack, link: &Link) -> Verdict {
    let with_token = format!("/sign-in?token={}", link.token);
    for path in ["/sign-in", "/sign-in?utm_source=scan", &with_token] {
        for method in [Method::GET, Method::HEAD] {
            for _ in 0..SCANS {
                let page = attack.target.patiently(attack.target.page(method.clone(), path)).await?;
                let page = page.with_status(200)?;
                if method == Method::GET && page.body.is_empty() {
                    return Err(wrong("answered 200, but without a page"));
                }
                // Every JWT begins like this.
                let holds_token = page.body.windows(3).any(|bytes| bytes == b"eyJ");
                if holds_token || page.headers.contains_key(SET_COOKIE) {
                    return Err(wrong("answered 200 with a cookie or a token"));
                }
            }
        }
    }
    Ok(())
}

async fn dead_links(attack: &mut Attack) {
    let email = attack.fresh_email();
    let link = match attack.link(&email).await {
        Ok(link) => link,
        Err(finding) => return attack.note(20, "a link to use up", Err(finding)),
    };
    let mut cut = link.token.clone();
    cut.pop();
    let with = |token: &str| json!({ "token": token, "verifier": link.verifier });
    let unknown = attack.refuses_link(&with(&attack.secret())).await;
    let same = |answer: Answer| match &unknown {
        Ok(unknown) if unknown.body == answer.body => Ok(()),
        Ok(_) => Err(wrong("refused, but with another body than an unknown token")),
        Err(_) => Err(wrong("refused, but unlike an unknown token")),
    };
    attack.note(20, "an unknown link is refused", unknown.as_ref().map(drop).map_err(Finding::clone));
    for (what, token) in [
        ("a link cut short is refused as an unknown one", cut),
        ("a link with a character more is refused as an unknown one", format!("{}A", link.token)),
        ("a blank token is refused as an unknown one", " ".to_owned()),
        ("a token of one dot is refused as an unknown one", ".".to_owned()),
    ] {
        let verdict = attack.refuses_link(&with(&token)).await.and_then(same);
        attack.note(20, what, verdict);
    }
    let verdict = empty(attack, &link).await;
    attack.note(20, "an empty token is refused", verdict);
    let verdict = by_cookie(attack, &link).await;
    attack.note(20, "control: the link itself works, with the cookie in place of the verifier", verdict);
    let verdict = attack.refuses_link(&link.by_token()).await.and_then(same);
    attack.note(20, "a used link is refused as an unknown one", verdict);
    let verdict = expired(attack, link.lifetime).await.and_then(same);
    attack.note(20, "an expired link is refused as an unknown one", verdict);
}

/// Whether an empty field counts as a wrong token or as none is for the deployment to say.
async fn empty(attack: &Attack, link: &Link) -> Verdict {
    let body = json!({ "token": "", "verifier": link.verifier });
    let answer = attack.target.verify(&body).await?;
    if answer.status == 422 { Ok(()) } else { answer.is_refusal(401, REFUSED) }
}

async fn by_cookie(attack: &Attack, link: &Link) -> Verdict {
    let send = |request| attack.target.patiently(request);
    let request = attack.target.post("/auth/verify-magic-link", &json!({ "token": link.token }));
    let by_cookie = if link.cookie.is_empty() {
        Err(wrong("the answer to the request of the link set no HttpOnly cookie"))
    } else {
        match send(request.header(COOKIE, &link.cookie)).await {
            Ok(answer) => Session::opened_by(answer, None),
            Err(finding) => Err(finding),
        }
    };
    match by_cookie {
        Ok(session) => {
            attack.target.takes(&session.access, &session.user_id).await?;
            attack.target.end(&session).await
        }
        // The link is used up all the same, for the next check.
        Err(finding) => both(Err(finding), attack.lets_in(&link.by_token()).await),
    }
}

async fn expired(attack: &mut Attack, lifetime: u64) -> Verdict<Answer> {
    if lifetime > SHORT_LIFE {
        return Err(untried(format!("links live {lifetime} s; {SHORT_LIFE} s are waited for")));
    }
    let email = attack.fresh_email();
    let link = attack.link(&email).await?;
    attack.target.wait(Duration::from_secs(lifetime + 1)).await?;
    attack.refuses_link(&link.by_token()).await
}
