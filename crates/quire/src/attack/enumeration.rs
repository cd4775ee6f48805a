//! Scenario 22: whether an address has an account, or a blocked one, cannot be told from the outside.

use std::collections::HashMap;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::Attack;
use super::answer::Answer;
use super::headers::millis;
use super::limits::unread_request;
use super::report::{Verdict, untried, wrong};
use super::statistics::{mann_whitney, median};

/// Milliseconds between medians that somebody on the network could make use of.
const NOTICEABLE: f64 = 2.0;
const SIGNIFICANT: f64 = 0.01;
/// So many samples of each are waited for; beyond them a limit ends the sampling.
const ENOUGH: usize = 3;
/// What the limit of the route should leave for the first samples.
const ROOM: u32 = 10;

pub(crate) async fn run(attack: &mut Attack) {
    let (known, unknown) = (attack.fresh_email(), attack.fresh_email());
    let baseline = match baseline(attack, &known, &unknown).await {
        Ok(baseline) => baseline,
        Err(finding) => return attack.note(22, "an address with an account and one without", Err(finding)),
    };
    let verdict = match ask(attack, &known).await {
        Ok(answer) => baseline.is_like(&answer),
        Err(finding) => Err(finding),
    };
    attack.note(22, "an address with an account gets the answer of one without", verdict);
    let verdict = blocked(attack, &baseline).await;
    attack.note(22, "so does one whose user is blocked, and whose link then lets nobody in", verdict);
    let verdict = times(attack, &known, &unknown).await;
    attack.note_measured(22, "the time of the answer does not tell either", verdict);
}

/// What is the same in every answer about an address without an account.
struct Baseline {
    body: Value,
    /// Without those that change from answer to answer anyway.
    headers: HashMap<String, Vec<String>>,
    changing: Vec<String>,
}

/// Leaves both addresses with the same number of requests, so that a limit for each address strikes both at once.
async fn baseline(attack: &Attack, known: &str, unknown: &str) -> Verdict<Baseline> {
    let session = attack.sign_in(known).await?;
    attack.target.end(&session).await?;
    let first = ask(attack, unknown).await?;
    let second = ask(attack, unknown).await?;
    let (mut headers, again) = (comparable(&first.headers), comparable(&second.headers));
    let names = headers.keys().chain(again.keys());
    let mut changing: Vec<String> =
        names.filter(|name| headers.get(*name) != again.get(*name)).cloned().collect();
    // A clock and a counter may stand still between two answers.
    changing.extend(["date", "ratelimit"].map(str::to_owned));
    headers.retain(|name, _| !changing.contains(name));
    Ok(Baseline { body: without_verifier(&first), headers, changing })
}

impl Baseline {
    fn is_like(&self, answer: &Answer) -> Verdict {
        if without_verifier(answer) != self.body {
            return Err(wrong("another body"));
        }
        let mut headers = comparable(&answer.headers);
        headers.retain(|name, _| !self.changing.contains(name));
        let names = self.headers.keys().chain(headers.keys());
        match names.into_iter().find(|name| headers.get(*name) != self.headers.get(*name)) {
            None => Ok(()),
            Some(name) => Err(wrong(format!("another header `{name}`"))),
        }
    }
}

async fn ask(attack: &Attack, email: &str) -> Verdict<Answer> {
    let request = attack.target.post("/auth/magic-link", &json!({ "email": email }));
    attack.target.patiently(request).await?.with_status(202)
}

fn without_verifier(answer: &Answer) -> Value {
    let mut body = answer.json();
    if let Some(object) = body.as_object_mut() {
        object.remove("verifier");
    }
    body
}

/// Cookies without their values, which are secrets of each answer.
fn comparable(headers: &HeaderMap) -> HashMap<String, Vec<String>> {
    let mut comparable: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text = match text.split_once('=') {
            Some((cookie, rest)) if name == "set-cookie" => {
                format!("{cookie};{}", rest.split_once(';').map_or("", |(_, attributes)| attributes))
            }
            _ => text,
        };
        comparable.entry(name.as_str().to_owned()).or_default().push(text);
    }
    comparable
}

async fn blocked(attack: &mut Attack, baseline: &Baseline) -> Verdict {
    let Some(admin) = attack.admin_email.clone() else {
        return Err(untried("needs --admin-email"));
    };
    let operator = attack.sign_in(&admin).await?;
    let email = attack.fresh_email();
    let user = attack.sign_in(&email).await?;
    let act = async |what: &str| {
        let path = format!("/admin/users/{}/{what}", user.user_id);
        let request = attack.target.request(Method::POST, &path).bearer_auth(&operator.access);
        attack.target.patiently(request).await?.with_status(200).map(drop)
    };
    act("block").await?;
    let verdict = stays_out(attack, baseline, &email).await;
    // Nobody misses the user, but a run leaves things as they were.
    let undone = act("unblock").await;
    let ended = attack.target.end(&operator).await;
    verdict.and(undone).and(ended)
}

async fn stays_out(attack: &Attack, baseline: &Baseline, email: &str) -> Verdict {
    let (answer, link) = attack.link_with_answer(email).await?;
    baseline.is_like(&answer)?;
    attack.target.verify(&link.by_token()).await?.is_refusal(403, "USER_BLOCKED")
}

/// One of the two addresses that are compared.
struct Side<'a> {
    email: &'a str,
    times: Vec<f64>,
    /// A limit for this address alone refused it.
    refused: bool,
}

/// The times of both, in milliseconds.
struct Times {
    known: Vec<f64>,
    unknown: Vec<f64>,
}

impl Times {
    fn medians(&self) -> (f64, f64) {
        (median(&self.known), median(&self.unknown))
    }

    fn fewest(&self) -> usize {
        self.known.len().min(self.unknown.len())
    }

    fn tell(&self) -> bool {
        let (known, unknown) = self.medians();
        (known - unknown).abs() >= NOTICEABLE && mann_whitney(&self.known, &self.unknown) < SIGNIFICANT
    }

    fn note(&self) -> String {
        let (known, unknown) = self.medians();
        format!(
            "medians {known:.2} ms with and {unknown:.2} ms without an account, Mann-Whitney p = {:.3}, {} and {} \
             samples",
            mann_whitney(&self.known, &self.unknown),
            self.known.len(),
            self.unknown.len(),
        )
    }
}

async fn times(attack: &Attack, known: &str, unknown: &str) -> Verdict<String> {
    let first = measure(attack, known, unknown, ROOM).await?;
    if !first.tell() {
        return Ok(first.note());
    }
    // One time in a hundred that is chance, but hardly twice in a row.
    let samples = u32::try_from(attack.samples * 2).unwrap_or(u32::MAX);
    match measure(attack, known, unknown, samples).await {
        Ok(second) if second.fewest() > ENOUGH => {
            let note = format!("{}; and again: {}", first.note(), second.note());
            if second.tell() { Err(wrong(note)) } else { Ok(note) }
        }
        _ => Err(wrong(first.note())),
    }
}

async fn measure(attack: &Attack, known: &str, unknown: &str, room: u32) -> Verdict<Times> {
    let side = |email| Side { email, times: Vec::new(), refused: false };
    let mut sides = [side(known), side(unknown)];
    attack.target.with_room(room, || unread_request(&attack.target, attack)).await?;
    let mut uneven = false;
    for turn in 0..attack.samples {
        // Each comes first as often as the other.
        sides.reverse();
        let mut goes_on = true;
        for side in &mut sides {
            goes_on &= sample(attack, side, turn < ENOUGH).await?;
        }
        match sides.each_ref().map(|side| side.refused) {
            [false, false] => {}
            [true, true] => break,
            // They were not counted from the same moment on, so one may be a turn ahead.
            _ if !uneven => uneven = true,
            _ => return Err(wrong("one of the two addresses met its limit before the other")),
        }
        if !goes_on {
            break;
        }
    }
    sides.sort_by_key(|side| side.email != known);
    let [known, unknown] = sides.map(|side| side.times);
    let times = Times { known, unknown };
    if times.fewest() < 2 {
        return Err(untried("a limit left fewer than two samples of each"));
    }
    Ok(times)
}

/// One sample. `false` when a limit says that there will be no more.
async fn sample(attack: &Attack, side: &mut Side<'_>, wait: bool) -> Verdict<bool> {
    loop {
        let request = attack.target.post("/auth/magic-link", &json!({ "email": side.email }));
        let answer = attack.target.send(request).await?;
        if answer.status != 429 {
            let answer = answer.with_status(202)?;
            side.times.push(millis(answer.took));
            return Ok(true);
        }
        if answer.reason() != super::limits::REFUSED {
            side.refused = true;
            return Ok(true);
        }
        // The limit of the route, which counts both addresses together.
        let pause = answer.retry_after().ok_or_else(|| wrong("answered 429 without Retry-After"))?;
        if !wait || attack.target.wait(pause).await.is_err() {
            return Ok(false);
        }
    }
}
