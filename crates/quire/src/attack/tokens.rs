//! Scenarios 1 to 4: access tokens with another algorithm, other times, another audience.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};

use super::forge::{Forger, forms_of};
use super::report::{Verdict, both, wrong};
use super::session::Session;
use super::{Attack, headers, shapes};

const HOUR: i64 = 3600;
/// What every refused access token is told.
pub(crate) const REFUSED: &str = "TOKEN_INVALID";
const PROBLEM: &str = "application/problem+json";

/// Somebody who is signed in, and the means to forge after their token.
pub(crate) struct Genuine {
    pub(crate) session: Session,
    pub(crate) forger: Forger,
}

/// Tokens that must all be refused for the same reason.
pub(crate) struct Forgery {
    what: String,
    tokens: Vec<String>,
}

pub(crate) fn forgery(what: impl Into<String>, tokens: impl IntoIterator<Item = String>) -> Forgery {
    Forgery { what: what.into(), tokens: tokens.into_iter().collect() }
}

pub(crate) async fn run(attack: &mut Attack) {
    let genuine = match attack.genuine().await {
        Ok(genuine) => genuine,
        Err(finding) => {
            for row in 1..=8 {
                attack.note(row, "a genuine token to forge after", Err(finding.clone()));
            }
            return;
        }
    };
    no_algorithm(attack, &genuine).await;
    public_key_as_secret(attack, &genuine).await;
    times(attack, &genuine).await;
    claims(attack, &genuine).await;
    headers::run(attack, &genuine).await;
    shapes::run(attack, genuine).await;
}

impl Attack {
    async fn genuine(&mut self) -> Verdict<Genuine> {
        let email = self.fresh_email();
        let mut session = match &self.given {
            Some(given) => Session {
                access: given.access.clone(),
                refresh: given.refresh.clone(),
                user_id: String::new(),
                own: false,
            },
            None => self.sign_in(&email).await?,
        };
        let forger = Forger::new(&session.access)?;
        if !session.own {
            forger.user_id().clone_into(&mut session.user_id);
        }
        Ok(Genuine { session, forger })
    }

    /// A forged access token, refused as it must be.
    pub(crate) async fn refuses(&self, token: &str) -> Verdict {
        self.target.patiently(self.target.me(token)).await?.is_refusal(401, REFUSED)
    }

    /// Whether the genuine token works.
    pub(crate) async fn control(&self, genuine: &Genuine) -> Verdict {
        self.target.takes(&genuine.session.access, &genuine.session.user_id).await.map(drop)
    }

    /// One line for each forgery, and one for the genuine token, which must work before and after.
    pub(crate) async fn refuses_all(&mut self, row: u8, genuine: &Genuine, forgeries: Vec<Forgery>) {
        let before = self.control(genuine).await;
        for forgery in forgeries {
            let mut verdict = Ok(());
            for token in &forgery.tokens {
                verdict = both(verdict, self.refuses(token).await);
            }
            self.note(row, forgery.what, verdict);
        }
        let after = self.control(genuine).await;
        self.note(row, "control: the genuine token works before and after", both(before, after));
    }
}

async fn no_algorithm(attack: &mut Attack, genuine: &Genuine) {
    let forger = &genuine.forger;
    let claims = forger.claims(|_| {});
    let mut forgeries = Vec::new();
    for name in ["none", "None", "NONE", "nOnE"] {
        let header = forger.header(|header| {
            header.insert("alg".to_owned(), json!(name));
        });
        let unsigned = forger.unsigned(&header, &claims);
        let two_segments = unsigned.trim_end_matches('.').to_owned();
        forgeries.push(forgery(format!("alg {name}, signature dropped"), [unsigned, two_segments]));
        forgeries.push(forgery(format!("alg {name}, signature kept"), [forger.kept(&header, &claims)]));
    }
    let header = forger.header(|_| {});
    forgeries.push(forgery("genuine header, empty signature", [forger.unsigned(&header, &claims)]));
    let nobody = forger.header(|header| {
        header.remove("alg");
    });
    let no_alg = [forger.unsigned(&nobody, &claims), forger.kept(&nobody, &claims)];
    forgeries.push(forgery("no alg at all", no_alg));
    let sample = forger.unsigned(&header, &claims);
    attack.refuses_all(1, genuine, forgeries).await;
    let verdict = as_problem(attack, &sample).await;
    attack.note(1, "the refusal as application/problem+json", verdict);
}

/// The same refusal in RFC 9457's shape.
async fn as_problem(attack: &Attack, token: &str) -> Verdict {
    let answer = attack.target.patiently(attack.target.me(token).header(ACCEPT, PROBLEM)).await?;
    answer.is_refusal(401, REFUSED)?;
    let (body, kind) = (answer.json(), answer.header(CONTENT_TYPE.as_str()));
    if kind.starts_with(PROBLEM) && body["status"] == 401 && body["reason"] == REFUSED {
        return Ok(());
    }
    Err(wrong("answered 401, but not as a problem with `status` and `reason`"))
}

async fn public_key_as_secret(attack: &mut Attack, genuine: &Genuine) {
    let forger = &genuine.forger;
    let (jwk, public) = match published_key(attack, forger).await {
        Ok(found) => found,
        Err(finding) => return attack.note(2, "the public key, as published", Err(finding)),
    };
    attack.note(2, "the key that signed the genuine token is published, and no secret with it", Ok(()));
    let header = forger.header(|header| {
        header.insert("alg".to_owned(), json!("HS256"));
    });
    let claims = forger.claims(|_| {});
    let forgeries = forms_of(&jwk, &public).into_iter().map(|(form, secrets)| {
        let tokens = secrets.iter().map(|secret| forger.mac(&header, &claims, secret));
        forgery(format!("HS256 with the public key {form}"), tokens)
    });
    let forgeries = forgeries.collect();
    attack.refuses_all(2, genuine, forgeries).await;
}

/// The published key that signed the genuine token; otherwise the scenario would try the wrong secret.
async fn published_key(attack: &Attack, forger: &Forger) -> Verdict<(Value, Vec<u8>)> {
    let request = attack.target.page(Method::GET, "/.well-known/jwks.json");
    let answer = attack.target.patiently(request).await?.with_status(200)?;
    let body = answer.json();
    let keys = body["keys"].as_array().ok_or_else(|| wrong("the key set has no `keys`"))?;
    let public = |key: &Value| {
        let shape =
            key["kty"] == "OKP" && key["crv"] == "Ed25519" && key["alg"] == "EdDSA" && key["use"] == "sig";
        shape && key.get("d").is_none() && key.get("k").is_none()
    };
    if !keys.iter().all(public) {
        return Err(wrong("the key set has a key that is not a public Ed25519 one"));
    }
    let ours = keys.iter().find(|key| key["kid"] == *forger.key_id());
    let ours = ours.ok_or_else(|| wrong("the key set lacks the `kid` of the genuine token"))?;
    let x = ours["x"].as_str().and_then(|x| URL_SAFE_NO_PAD.decode(x).ok());
    let x = x.filter(|x| forger.is_signed_by(x));
    let x = x.ok_or_else(|| wrong("the published key has not signed the genuine token"))?;
    Ok((ours.clone(), x))
}

async fn times(attack: &mut Attack, genuine: &Genuine) {
    let forger = &genuine.forger;
    let header = forger.header(|_| {});
    let now = attack.world.now().unix_seconds();
    let set = |name: &str, value: Value| {
        forger.claims(|claims| {
            claims.insert(name.to_owned(), value);
        })
    };
    let forged = [
        ("exp in the past", set("exp", json!(now - HOUR))),
        ("exp as a text", set("exp", json!((now + HOUR).to_string()))),
        ("exp below zero", set("exp", json!(-1))),
        ("exp of 1e400", forger.claims_with_number("exp", "1e400")),
        ("no exp", without(forger, "exp")),
        ("nbf in the future", set("nbf", json!(now + HOUR))),
        ("exp a year later", set("exp", json!(now + 365 * 24 * HOUR))),
    ];
    let forgeries = forged.map(|(what, claims)| forgery(what, forger.both(&header, &claims)));
    attack.refuses_all(3, genuine, forgeries.into()).await;
}

async fn claims(attack: &mut Attack, genuine: &Genuine) {
    let forger = &genuine.forger;
    let header = forger.header(|_| {});
    let set = |name: &str, value: Value| {
        forger.claims(|claims| {
            claims.insert(name.to_owned(), value);
        })
    };
    let forged = [
        ("wrong audience", set("aud", json!("another-api"))),
        ("the audience of refresh tokens", set("aud", json!("quire-refresh"))),
        ("no audience", without(forger, "aud")),
        ("a list of other audiences", set("aud", json!(["another-api", "a-third-api"]))),
        ("wrong issuer", set("iss", json!("https://attacker.example"))),
        ("no issuer", without(forger, "iss")),
        ("no subject", without(forger, "sub")),
        ("another subject", set("sub", json!(attack.world.id()))),
        ("the role of an operator", set("role", json!("admin"))),
    ];
    let forgeries = forged.map(|(what, claims)| forgery(what, forger.both(&header, &claims)));
    attack.refuses_all(4, genuine, forgeries.into()).await;
}

fn without(forger: &Forger, name: &str) -> String {
    forger.claims(|claims| {
        claims.remove(name);
    })
}
