//! Scenarios 23 to 25: the limit for sign-in links counts what it says, by an address that the caller cannot choose.
//!
//! They come last: they use the limit up.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::json;
use tokio::time::Instant;

use super::Attack;
use super::answer::{Answer, Quota};
use super::report::{Verdict, untried, wrong};
use super::target::Target;

/// The reason of the limit that counts by client address.
pub(crate) const REFUSED: &str = "RATE_LIMITED";
/// A larger limit is not used up: each call is a mail.
const MAX_LIMIT: u32 = 200;
/// What the limit should leave before it is used up.
const ROOM: u32 = 5;
/// Calls beyond the limit.
const BEYOND: u32 = 2;
/// A longer `Retry-After` is not waited for.
const SHORT_WAIT: Duration = Duration::from_secs(30);
/// A call may be let through because the limit's time has come just then, but not each time.
const TRIES: u16 = 5;
/// How often a count that is one too high is made again.
const RECOUNTS: usize = 3;
/// Calls in the name of somebody else.
const FRAMED: usize = 10;
/// That somebody, who is on this machine too.
const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

pub(crate) async fn run(attack: &mut Attack) {
    let before = match attack.target.with_room(ROOM, || unread_request(&attack.target, attack)).await {
        Ok(before) => before,
        Err(finding) => {
            for row in 23..=25 {
                attack.note(row, "a limit for sign-in links", Err(finding.clone()));
            }
            return;
        }
    };
    let quota = before.with_status(202).and_then(|before| quota(&before));
    if let Ok(quota) = &quota
        && quota.limit > MAX_LIMIT
    {
        for row in 23..=25 {
            let why =
                format!("a limit of {} is not used up here; one of {MAX_LIMIT} at most is", quota.limit);
            attack.note(row, "the limit for sign-in links", Err(untried(why)));
        }
        return;
    }
    let started = Instant::now();
    let verdict = counts(attack, quota, started).await;
    attack.note_measured(23, "the limit lets through what it promised, then no more", verdict);
    let verdict = opens_again(attack).await;
    attack.note(23, "after Retry-After seconds a call is let through again", verdict);
    forged_addresses(attack).await;
    let verdict = framed(attack).await;
    attack.note(25, "calls in the name of another address leave that address its quota", verdict);
}

/// A request for a link to an address that nobody has used. The mail is not read.
pub(crate) fn unread_request(target: &Target, attack: &Attack) -> RequestBuilder {
    let email = format!("attack-{}-limit-{}@{}", attack.run_id, attack.world.id(), attack.domain);
    target.post("/auth/magic-link", &json!({ "email": email }))
}

fn quota(answer: &Answer) -> Verdict<Quota> {
    let missing = || wrong("answered without RateLimit and RateLimit-Policy that name a policy with q and w");
    answer.quota().ok_or_else(missing)
}

/// A whole 429: nothing left, and when to come back.
fn is_limited(answer: &Answer) -> Verdict<Duration> {
    answer.is_refusal(429, REFUSED)?;
    let left = quota(answer)?.remaining;
    if left > 0 {
        return Err(wrong(format!("answered 429, but with {left} calls left in RateLimit")));
    }
    let wait = answer.retry_after().filter(|wait| *wait > Duration::ZERO);
    wait.ok_or_else(|| wrong("answered 429 without Retry-After"))
}

/// How many calls were let through in a row.
struct Count {
    promised: u32,
    passed: u32,
    /// Calls that the time taken has earned on top.
    earned: u32,
}

impl Count {
    fn is_kept(&self) -> bool {
        self.passed <= self.promised.saturating_add(self.earned)
    }
}

async fn counts(attack: &Attack, promise: Verdict<Quota>, started: Instant) -> Verdict<String> {
    let promise = promise?;
    if promise.policy.contains("mailbox") {
        // Each call goes to another mailbox, so this policy never strikes.
        return Err(untried("RateLimit tells about the mailbox instead of the address of the caller"));
    }
    let first = count(attack, &promise, started).await?;
    let note = format!(
        "{} let through, {} promised; the limit is {} in {} s",
        first.passed,
        first.promised,
        promise.limit,
        promise.window.as_secs()
    );
    let mut last = first;
    // A call that was nearly earned when the counting began comes on top once, but not each time.
    for _ in 0..RECOUNTS {
        if last.is_kept() {
            return Ok(note);
        }
        attack.target.wait(promise.interval() * 2).await?;
        let started = Instant::now();
        let again = attack.target.send(unread_request(&attack.target, attack)).await?.with_status(202)?;
        last = count(attack, &quota(&again)?, started).await?;
    }
    if last.is_kept() { Ok(note) } else { Err(wrong(note)) }
}

/// Calls until the limit strikes.
async fn count(attack: &Attack, promise: &Quota, started: Instant) -> Verdict<Count> {
    let (promised, interval) = (promise.remaining, promise.interval());
    let earned = || {
        let intervals = started.elapsed().as_micros() / interval.as_micros().max(1);
        u32::try_from(intervals).unwrap_or(u32::MAX)
    };
    let mut passed = 0_u32;
    loop {
        let answer = attack.target.send(unread_request(&attack.target, attack)).await?;
        if answer.status == 429 {
            is_limited(&answer)?;
            break;
        }
        answer.with_status(202)?;
        passed += 1;
        if passed > promise.limit.saturating_add(BEYOND).saturating_add(earned()) || passed > 2 * MAX_LIMIT {
            return Err(wrong(format!("{passed} calls in a row were let through")));
        }
    }
    let count = Count { promised, passed, earned: earned() };
    if passed < promised || passed > promised.saturating_add(count.earned) + 1 {
        return Err(wrong(format!("{passed} calls were let through, {promised} were promised")));
    }
    Ok(count)
}

/// Sends until the limit is used up. How long it lasts by its own words.
async fn use_up(attack: &Attack) -> Verdict<Duration> {
    for _ in 0..=TRIES {
        let answer = attack.target.send(unread_request(&attack.target, attack)).await?;
        if answer.status == 429 {
            return is_limited(&answer);
        }
        answer.with_status(202)?;
    }
    Err(wrong("calls are not limited"))
}

async fn opens_again(attack: &Attack) -> Verdict {
    let wait = use_up(attack).await?;
    if wait > SHORT_WAIT {
        let (wait, most) = (wait.as_secs(), SHORT_WAIT.as_secs());
        return Err(untried(format!("Retry-After is {wait} s; {most} s are waited for")));
    }
    attack.target.wait(wait).await?;
    attack.target.send(unread_request(&attack.target, attack)).await?.with_status(202).map(drop)
}

/// Headers in which a client could name another address as its own, new ones for each number.
fn forgeries(number: u16) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let v4 = format!("198.51.100.{number}");
    vec![
        ("X-Forwarded-For with another address each time", vec![("x-forwarded-for", v4.clone())]),
        (
            "X-Forwarded-For with several hops",
            vec![("x-forwarded-for", format!("203.0.113.{number}, {v4}, 192.0.2.{number}"))],
        ),
        (
            "X-Forwarded-For twice",
            vec![("x-forwarded-for", v4.clone()), ("x-forwarded-for", format!("203.0.113.{number}"))],
        ),
        ("X-Forwarded-For that is no address", vec![("x-forwarded-for", format!("unknown-{number}, {v4}"))]),
        ("Forwarded", vec![("forwarded", format!("for={v4};proto=https"))]),
        (
            "X-Real-IP, True-Client-IP and CF-Connecting-IP",
            ["x-real-ip", "true-client-ip", "cf-connecting-ip"].map(|name| (name, v4.clone())).into(),
        ),
        ("IPv6 addresses of one network", vec![("x-forwarded-for", format!("2001:db8:1:2::{number:x}"))]),
        ("IPv6 addresses of many networks", vec![("x-forwarded-for", format!("2001:db8:1:{number:x}::1"))]),
        ("IPv4 addresses written as IPv6", vec![("x-forwarded-for", format!("::ffff:{v4}"))]),
    ]
}

async fn forged_addresses(attack: &mut Attack) {
    for (index, (what, _)) in forgeries(0).iter().enumerate() {
        let verdict = stays_limited(attack, index).await;
        attack.note(24, format!("limited all the same: {what}"), verdict);
    }
}

async fn stays_limited(attack: &Attack, index: usize) -> Verdict {
    for number in 1..=TRIES {
        use_up(attack).await?;
        let mut request = unread_request(&attack.target, attack);
        let forged = forgeries(number).swap_remove(index).1;
        for (name, value) in forged {
            request = request.header(name, value);
        }
        let answer = attack.target.send(request).await?;
        if answer.status == 429 {
            return is_limited(&answer).map(drop);
        }
        answer.with_status(202)?;
    }
    Err(wrong(
        "the target believes what this address says about the client, so anybody here chooses what limits count \
         by: take it out of QUIRE_TRUSTED_PROXIES, or attack from an address that is no proxy",
    ))
}

/// An attacker who writes somebody else's address must not use up what that somebody may do.
async fn framed(attack: &Attack) -> Verdict {
    use_up(attack).await?;
    if !attack.target.on_this_machine {
        return Err(untried("the target is not on this machine, so there is no second address to call from"));
    }
    let victim = attack.target.called_from(VICTIM)?;
    // Systems other than Linux have to be told about a second loopback address.
    let unusable = |_| untried(format!("calls cannot be made from {VICTIM}"));
    victim.send(victim.page(reqwest::Method::GET, "/livez")).await.map_err(unusable)?;
    let before = victim.send(unread_request(&victim, attack)).await?;
    if before.status == 429 {
        return Err(wrong(format!("{VICTIM} is limited, too, though it has sent nothing")));
    }
    let before = quota(&before.with_status(202)?)?.remaining;
    for _ in 0..FRAMED {
        let request = unread_request(&attack.target, attack).header("x-forwarded-for", VICTIM.to_string());
        let answer = attack.target.send(request).await?;
        if answer.status != 429 {
            answer.with_status(202)?;
        }
    }
    let after = quota(&victim.send(unread_request(&victim, attack)).await?.with_status(202)?)?.remaining;
    // Its own call used one up.
    if after + 1 < before {
        return Err(wrong(format!("{VICTIM} had {before} calls left, then {after} after its next one")));
    }
    Ok(())
}
