//! Scenarios 5 and 6: headers that point at other keys, and floods of key ids that nobody knows.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Attack;
use super::report::{Finding, Verdict, untried, wrong};
use super::statistics::median;
use super::target::{CONCURRENCY, flood};
use super::tokens::{Forgery, Genuine, REFUSED, forgery};

/// Tokens of the flood.
const FLOOD: usize = 1000;
/// The flood ends after this, however many tokens are left.
const FLOOD_TIME: Duration = Duration::from_secs(60);
/// Calls with the genuine token before the flood, to compare with.
const CALM_CALLS: usize = 20;
/// A fetch that was started by a refused token has begun by then.
const LATE_FETCH: Duration = Duration::from_millis(500);
/// Longer than any key id, and than what any server should parse.
const LONG_KEY_ID: usize = 10_000;

pub(crate) async fn run(attack: &mut Attack, genuine: &Genuine) {
    key_ids(attack, genuine).await;
    foreign_keys(attack, genuine).await;
}

async fn key_ids(attack: &mut Attack, genuine: &Genuine) {
    let named = |what: &str, kid: Value| forgery(what, with_header(genuine, &[("kid", kid)]));
    let forgeries = vec![
        named("kid ../../etc/passwd", json!("../../etc/passwd")),
        named("kid ' OR 1=1--", json!("' OR 1=1--")),
        named("an unknown kid", json!(attack.secret())),
        named("an empty kid", json!("")),
        named("a kid that is a number", json!(1)),
    ];
    attack.refuses_all(5, genuine, forgeries).await;
    let long = with_header(genuine, &[("kid", json!("k".repeat(LONG_KEY_ID)))]);
    let verdict = refuses_long(attack, &long).await;
    attack.note(5, "a kid of 10 kB", verdict);
    let what = format!("{FLOOD} tokens with random key ids, {CONCURRENCY} at a time");
    let verdict = unknown_key_ids(attack, genuine).await;
    attack.note_measured(5, what, verdict);
}

/// Proxies have a right to refuse a header of that size by themselves.
async fn refuses_long(attack: &Attack, tokens: &[String]) -> Verdict {
    for token in tokens {
        let answer = attack.target.patiently(attack.target.me(token)).await?;
        if !matches!(answer.status, 400 | 413 | 431) {
            answer.is_refusal(401, REFUSED)?;
        }
    }
    Ok(())
}

/// Nobody else is kept waiting for keys that do not exist: the times are told, the answers are judged.
async fn unknown_key_ids(attack: &Attack, genuine: &Genuine) -> Verdict<String> {
    let (target, session) = (&attack.target, &genuine.session);
    let mut calm = Vec::with_capacity(CALM_CALLS);
    for _ in 0..CALM_CALLS {
        calm.push(millis(target.takes(&session.access, &session.user_id).await?.took));
    }
    let (forger, deadline) = (&genuine.forger, Instant::now() + FLOOD_TIME);
    let claims = forger.claims(|_| {});
    let (done, sent, limited) = (Cell::new(false), Cell::new(0_usize), Cell::new(0_usize));
    let flooding = async {
        let outcomes = flood(CONCURRENCY, 0..FLOOD, async |_| {
            if Instant::now() > deadline {
                return Ok(());
            }
            let header = forger.header(|header| {
                header.insert("kid".to_owned(), json!(attack.secret()));
            });
            let answer = target.send(target.me(&forger.own(&header, &claims))).await?;
            sent.set(sent.get() + 1);
            if answer.status == 429 {
                limited.set(limited.get() + 1);
                return Ok(());
            }
            answer.is_refusal(401, REFUSED)
        });
        let outcomes = outcomes.await;
        done.set(true);
        outcomes
    };
    let watching = async {
        let mut busy = Vec::new();
        while !done.get() {
            let answer = target.takes(&session.access, &session.user_id).await;
            busy.push(millis(answer.map_err(during_the_flood)?.took));
        }
        Ok(busy)
    };
    let (outcomes, busy) = tokio::join!(flooding, watching);
    first_of(outcomes)?;
    let busy = busy?;
    target.takes(&session.access, &session.user_id).await?;
    Ok(format!(
        "{} refused, {} of them by a limit; the genuine token took {:.1} ms before and {:.1} ms meanwhile (medians)",
        sent.get(),
        limited.get(),
        median(&calm),
        median(&busy),
    ))
}

fn during_the_flood(finding: Finding) -> Finding {
    match finding {
        Finding::Wrong(what) => wrong(format!("the genuine token meanwhile: {what}")),
        untried @ Finding::Untried(_) => untried,
    }
}

/// The first failure, with the number of all.
pub(crate) fn first_of(outcomes: Vec<Verdict>) -> Verdict {
    let all = outcomes.len();
    let failures: Vec<Finding> = outcomes.into_iter().filter_map(Result::err).collect();
    let bad = failures.iter().filter(|finding| matches!(finding, Finding::Wrong(_))).count();
    let worst = failures.into_iter().reduce(|first, next| match (&first, &next) {
        (Finding::Untried(_), Finding::Wrong(_)) => next,
        _ => first,
    });
    match worst {
        None => Ok(()),
        Some(Finding::Wrong(what)) => {
            Err(wrong(format!("{bad} of {all} were not refused; the first {what}")))
        }
        Some(untried) => Err(untried),
    }
}

async fn foreign_keys(attack: &mut Attack, genuine: &Genuine) {
    let trap = match Trap::set(&genuine.forger.jwk()).await {
        Ok(trap) => trap,
        Err(finding) => return attack.note(6, "a listener for the keys of an attacker", Err(finding)),
    };
    let ours = |what: &str, changes: &[(&str, Value)]| -> Forgery {
        // Under the key id of the deployment, and under that of our own key.
        let kid = ("kid", genuine.forger.jwk()["kid"].clone());
        let with_our_kid: Vec<(&str, Value)> = changes.iter().cloned().chain([kid]).collect();
        let tokens = with_header(genuine, changes).into_iter().chain(with_header(genuine, &with_our_kid));
        forgery(what, tokens)
    };
    let url = json!(format!("http://{}/jwks.json", trap.address));
    let forgeries = vec![
        ours("jku at an attacker's keys", &[("jku", url.clone())]),
        ours("x5u at an attacker's certificate", &[("x5u", url)]),
        ours("jwk with an attacker's key", &[("jwk", genuine.forger.jwk())]),
        ours("crit with an extension that nobody knows", &[("crit", json!(["x"])), ("x", json!(true))]),
    ];
    attack.refuses_all(6, genuine, forgeries).await;
    tokio::time::sleep(LATE_FETCH).await;
    let verdict = match trap.fetches() {
        0 if attack.target.on_this_machine => Ok("a target in a container could not have come".to_owned()),
        0 => Err(untried("the listener is on 127.0.0.1, where only a target on this machine could meet it")),
        count => Err(wrong(format!("{count} connections came in"))),
    };
    attack.note_measured(6, "no connection to the address in jku and x5u", verdict);
}

fn with_header(genuine: &Genuine, changes: &[(&str, Value)]) -> Vec<String> {
    let header = genuine.forger.header(|header| {
        for (name, value) in changes {
            header.insert((*name).to_owned(), value.clone());
        }
    });
    genuine.forger.both(&header, &genuine.forger.claims(|_| {}))
}

/// Serves the attacker's keys, and counts who fetches them.
struct Trap {
    address: std::net::SocketAddr,
    fetches: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl Trap {
    async fn set(jwk: &Value) -> Verdict<Self> {
        let busy = |_| untried("no port on 127.0.0.1 can be listened on");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(busy)?;
        let address = listener.local_addr().map_err(busy)?;
        let body = json!({ "keys": [jwk] }).to_string();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let fetches = Arc::new(AtomicUsize::new(0));
        let count = fetches.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // A fetch that goes wrong was counted all the same.
                let _ = tokio::time::timeout(Duration::from_secs(1), serve(stream, &answer)).await;
            }
        });
        Ok(Self { address, fetches, serving: serving.abort_handle() })
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    stream.write_all(answer.as_bytes()).await
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_trap_counts_who_comes() {
        let Ok(trap) = Trap::set(&json!({ "kid": "attack" })).await else { panic!("a port is free") };
        assert_eq!(trap.fetches(), 0);
        let mut stream = TcpStream::connect(trap.address).await.unwrap();
        stream.write_all(b"GET /jwks.json HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(r#"{"keys":[{"kid":"attack"}]}"#), "{answer}");
        assert_eq!(trap.fetches(), 1);
    }

    #[test]
    fn of_many_failures_a_wrong_one_is_told_with_their_number() {
        let outcomes =
            vec![Ok(()), Err(untried("limit")), Err(wrong("answered 200")), Err(wrong("answered 500"))];
        let Err(Finding::Wrong(told)) = first_of(outcomes) else { panic!("it failed") };
        assert_eq!(told, "2 of 4 were not refused; the first answered 200");
        assert!(first_of(vec![Ok(())]).is_ok());
    }
}
