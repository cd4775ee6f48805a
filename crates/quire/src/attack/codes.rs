//! Scenario 21: the code of a mail cannot be guessed, and guessing locks nobody out.

use serde_json::{Value, json};

use super::Attack;
use super::links::REFUSED;
use super::mailbox::ALPHABET;
use super::report::{Verdict, wrong};
use super::session::Link;
use super::target::flood;

/// One more than a request allows.
const TRIES: usize = 6;
const PARALLEL_TRIES: usize = 100;

pub(crate) async fn run(attack: &mut Attack) {
    let email = attack.fresh_email();
    match attack.link(&email).await {
        Ok(link) => {
            let verdict = guess_in_a_row(attack, &link).await;
            attack.note(21, "after six wrong codes the right one is refused", verdict);
            let verdict = attack.refuses_link(&link.by_token()).await.map(drop);
            attack.note(21, "and so is the link of the same mail", verdict);
        }
        Err(finding) => attack.note(21, "a code to guess", Err(finding)),
    }
    let email = attack.fresh_email();
    let guessed = match attack.link(&email).await {
        Ok(link) => link,
        Err(finding) => return attack.note(21, "a code to guess in parallel", Err(finding)),
    };
    let verdict = guess_in_parallel(attack, &guessed).await;
    attack.note_measured(21, "a hundred wrong codes at once are refused", verdict);
    let verdict = attack.refuses_link(&guessed.by_code()).await.map(drop);
    attack.note(21, "after them the right code is refused", verdict);
    let verdict = attack.refuses_link(&guessed.by_token()).await.map(drop);
    attack.note(21, "and so is the link of that mail", verdict);
    let verdict = match attack.link(&email).await {
        Ok(link) => attack.lets_in(&link.by_code()).await,
        Err(finding) => Err(finding),
    };
    attack.note(21, "the account is not locked: the code of a new mail to the same address works", verdict);
}

async fn guess_in_a_row(attack: &Attack, link: &Link) -> Verdict {
    for _ in 0..TRIES {
        attack.refuses_link(&wrong_code(attack, link)).await?;
    }
    attack.refuses_link(&link.by_code()).await.map(drop)
}

async fn guess_in_parallel(attack: &Attack, link: &Link) -> Verdict<String> {
    let target = &attack.target;
    let answers = flood(PARALLEL_TRIES, 0..PARALLEL_TRIES, async |_| {
        target.send(target.post("/auth/verify-magic-link", &wrong_code(attack, link))).await
    });
    let mut counted = 0;
    for answer in answers.await {
        let answer = answer?;
        if answer.status == 429 {
            answer.retry_after().ok_or_else(|| wrong("answered 429 without Retry-After"))?;
            continue;
        }
        answer.is_refusal(401, REFUSED)?;
        counted += 1;
    }
    // A limit that stopped nearly all of them leaves tries open, which must not save the link below.
    for _ in counted..TRIES {
        attack.refuses_link(&wrong_code(attack, link)).await?;
    }
    let limited = PARALLEL_TRIES - counted;
    Ok(if limited == 0 { String::new() } else { format!("{limited} of them by a limit") })
}

fn wrong_code(attack: &Attack, link: &Link) -> Value {
    loop {
        let letters = attack.world.bytes::<8>().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        let (left, right) = letters.split_at(letters.len() / 2);
        let code: String = left.iter().chain(&['-']).chain(right).collect();
        if code != link.code {
            return json!({ "code": code, "verifier": link.verifier });
        }
    }
}
