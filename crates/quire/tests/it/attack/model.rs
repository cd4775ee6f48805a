//! A deployment that keeps the contract of Quire's sign-in, but for one hole.
//!
//! It shows that the attack finds each hole, which no attack on a deployment without holes can show.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use quire_clock::World;
use serde_json::{Value, json};

use super::gate::{Gate, Refusal};

/// Calls for a link in a minute.
const LIMIT: u32 = 120;
const INTERVAL: Duration = Duration::from_millis(500);
pub const OPERATOR: &str = "operator@example.org";

/// What the model gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    None,
    // Tokens.
    TakesAlgNone,
    PublicKeyIsSecret,
    ChecksNoSignature,
    UnknownKeyIs500,
    TrustsJwk,
    FetchesKeys,
    LenientBase64,
    BrokenTokenIs500,
    IgnoresType,
    NoChallenge,
    NoReason,
    // Links and codes.
    LinkIsRaced,
    PageConsumes,
    PageSetsCookie,
    NoVerifierNeeded,
    WrongVerifierBurns,
    TellsUsedLinks,
    CodesWithoutEnd,
    VoidCodeLeavesLink,
    GuessingLocksAccount,
    // Addresses.
    TellsKnownAddress,
    KnownAddressIsSlow,
    BlockedGetNoAnswer,
    BlockedGetIn,
    // Limits.
    LimitLetsOneMore,
    LimitIsSilent,
    NoLimit,
    BelievesForwardedFor,
    BelievesRealIp,
    CountsForTheNamed,
}

pub struct Model {
    gate: Gate,
    hole: Hole,
    mail: PathBuf,
    world: World,
    mails: AtomicU64,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    links: Vec<Link>,
    /// By address; the id, and whether the user is blocked.
    users: HashMap<String, (String, bool)>,
    locked: HashSet<String>,
    /// When each address may call next, at the latest.
    arrivals: HashMap<IpAddr, Instant>,
}

struct Link {
    email: String,
    token: String,
    code: String,
    verifier: String,
    tries: u32,
    used: bool,
}

/// Starts it on a free port; it ends with the test.
pub async fn start(hole: Hole, mail: PathBuf) -> String {
    let (gate, state) = (Gate::new(hole), Mutex::default());
    let model = Arc::new(Model { gate, hole, mail, world: World::system(), mails: AtomicU64::new(0), state });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(model);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn answer(
    State(model): State<Arc<Model>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (method.as_str(), uri.path()) {
        (_, "/livez") => "live".into_response(),
        (_, "/.well-known/jwks.json") => model.gate.jwks().to_string().into_response(),
        (_, "/sign-in") => model.page(uri.query().unwrap_or_default()),
        (_, "/api/v1/auth/me") => model.me(&headers).await,
        (_, "/api/v1/auth/refresh") => model.refresh(&body).await,
        (_, "/api/v1/auth/logout") => 204.answer(json!(null)),
        (_, "/api/v1/auth/magic-link") => model.request(peer.ip(), &headers, &body).await,
        (_, "/api/v1/auth/verify-magic-link") => model.verify(&headers, &body).await,
        (_, path) => model.block(path),
    }
}

impl Model {
    fn page(&self, query: &str) -> Response {
        let mut known = self.state.lock().unwrap();
        if self.hole == Hole::PageConsumes
            && let Some(token) = query.strip_prefix("token=")
        {
            known.links.iter_mut().filter(|link| link.token == token).for_each(|link| link.used = true);
        }
        let page = "<!doctype html><button>Sign in</button>";
        if self.hole == Hole::PageSetsCookie {
            return ([("set-cookie", "session=1")], page).into_response();
        }
        page.into_response()
    }

    async fn me(&self, headers: &HeaderMap) -> Response {
        let header = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        match self.gate.user(header.trim_start_matches("Bearer "), "at+jwt").await {
            Ok(user_id) => 200.answer(json!({ "id": user_id })),
            Err(Refusal::Broken) => 500.answer(json!({ "detail": "broken" })),
            Err(Refusal::Invalid) if accepts_problems(headers) => {
                let mut answer = self.refuse(401, "TOKEN_INVALID", "no");
                *answer.body_mut() =
                    json!({ "status": 401, "reason": "TOKEN_INVALID", "detail": "no" }).to_string().into();
                answer.headers_mut().insert("content-type", "application/problem+json".parse().unwrap());
                answer
            }
            Err(Refusal::Invalid) => self.refuse(401, "TOKEN_INVALID", "no"),
        }
    }

    async fn refresh(&self, body: &Value) -> Response {
        match self.gate.user(body["refresh_token"].as_str().unwrap_or_default(), "rt+jwt").await {
            Ok(user_id) => 200.answer(self.pair(&user_id)),
            Err(_) => self.refuse(401, "REFRESH_TOKEN_INVALID", "no"),
        }
    }

    async fn request(&self, peer: IpAddr, headers: &HeaderMap, body: &Value) -> Response {
        let email = body["email"].as_str().unwrap().to_owned();
        let limit = match self.count(self.client(peer, headers), headers) {
            Ok(limit) => limit,
            Err(refusal) => return *refusal,
        };
        let (verifier, token) = (self.secret(), self.secret());
        let code = "7K3M-Q2XZ".to_owned();
        let known = {
            let mut known = self.state.lock().unwrap();
            let (verifier, token, code) = (verifier.clone(), token.clone(), code.clone());
            known.links.push(Link { email: email.clone(), token, code, verifier, tries: 0, used: false });
            known.users.get(&email).cloned()
        };
        self.send(&email, &token, &code);
        if self.hole == Hole::KnownAddressIsSlow && known.is_some() {
            tokio::time::sleep(Duration::from_millis(12)).await;
        }
        let blocked = known.as_ref().is_some_and(|(_, blocked)| *blocked);
        let message = match self.hole {
            Hole::TellsKnownAddress if known.is_some() => "welcome back",
            Hole::BlockedGetNoAnswer if blocked => "you are blocked",
            _ => "on its way",
        };
        let mut answer = 202.answer(json!({ "message": message, "expires_in": 900, "verifier": verifier }));
        let cookie = format!("quire_sign_in={verifier}; HttpOnly; SameSite=Strict; Path=/api/v1/auth");
        answer.headers_mut().insert("set-cookie", cookie.parse().unwrap());
        answer.headers_mut().extend(limit);
        answer
    }

    async fn verify(&self, headers: &HeaderMap, body: &Value) -> Response {
        let cookie = headers.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let cookie = cookie.strip_prefix("quire_sign_in=");
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let verifier = body["verifier"].as_str().or(cookie).unwrap_or_default();
        let (token, code) = (text("token"), text("code"));
        let chosen = {
            let mut known = self.state.lock().unwrap();
            let locked = known.locked.clone();
            let place = known.links.iter().position(|link| match code {
                "" => link.token == token,
                _ => link.verifier == verifier,
            });
            let Some(link) = place.map(|place| &mut known.links[place]) else { return self.link_invalid() };
            let bound = link.verifier == verifier || self.hole == Hole::NoVerifierNeeded;
            link.used |= !bound && self.hole == Hole::WrongVerifierBurns;
            if !code.is_empty() && self.hole != Hole::CodesWithoutEnd {
                link.tries += 1;
            }
            let void = link.tries > 5 && !(code.is_empty() && self.hole == Hole::VoidCodeLeavesLink);
            let right = bound && (code.is_empty() || link.code == code);
            let (email, used, tries) = (link.email.clone(), link.used, link.tries);
            if right && !used && !void && self.hole != Hole::LinkIsRaced {
                link.used = true;
            }
            if tries > 5 && self.hole == Hole::GuessingLocksAccount {
                known.locked.insert(email.clone());
            }
            if used && self.hole == Hole::TellsUsedLinks {
                return self.refuse(401, "MAGIC_LINK_INVALID", "used before");
            }
            if !right || used || void || locked.contains(&email) {
                return self.link_invalid();
            }
            place.map(|place| (place, email))
        };
        let (place, email) = chosen.unwrap();
        if self.hole == Hole::LinkIsRaced {
            tokio::time::sleep(Duration::from_millis(30)).await;
            self.state.lock().unwrap().links[place].used = true;
        }
        let mut known = self.state.lock().unwrap();
        let fresh = || (World::system().id(), false);
        let (user_id, blocked) = known.users.entry(email.clone()).or_insert_with(fresh).clone();
        if blocked && self.hole != Hole::BlockedGetIn {
            return self.refuse(403, "USER_BLOCKED", "blocked");
        }
        let mut pair = self.pair(&user_id);
        pair["user"] = json!({ "id": user_id, "email": email, "role": "user" });
        200.answer(pair)
    }

    fn block(&self, path: &str) -> Response {
        let Some((user_id, what)) =
            path.strip_prefix("/api/v1/admin/users/").and_then(|rest| rest.split_once('/'))
        else {
            return 404.answer(json!({ "detail": "Not Found" }));
        };
        let mut known = self.state.lock().unwrap();
        known.users.values_mut().filter(|user| user.0 == user_id).for_each(|user| user.1 = what == "block");
        200.answer(json!({ "id": user_id }))
    }

    /// Whom the limit counts.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let named = |name: &str| {
            headers.get(name)?.to_str().ok()?.split(',').next_back()?.trim().parse::<IpAddr>().ok()
        };
        let believed = match self.hole {
            Hole::BelievesForwardedFor => named("x-forwarded-for"),
            Hole::BelievesRealIp => named("x-real-ip"),
            _ => None,
        };
        if self.hole == Hole::CountsForTheNamed
            && let Some(named) = named("x-forwarded-for")
        {
            let _ = self.count(named, &HeaderMap::new());
        }
        believed.unwrap_or(peer)
    }

    /// GCRA, as in Quire.
    fn count(&self, client: IpAddr, _headers: &HeaderMap) -> Result<HeaderMap, Box<Response>> {
        if self.hole == Hole::NoLimit {
            return Ok(HeaderMap::new());
        }
        let mut known = self.state.lock().unwrap();
        let now = Instant::now();
        let burst = if self.hole == Hole::LimitLetsOneMore { LIMIT + 1 } else { LIMIT };
        let arrival = known.arrivals.get(&client).copied().unwrap_or(now).max(now);
        let mut headers = HeaderMap::new();
        let wait = (arrival - now).saturating_sub(INTERVAL * (burst - 1));
        let allowed = wait.is_zero();
        let next = if allowed { arrival + INTERVAL } else { arrival };
        let taken = (next - now).as_micros().div_ceil(INTERVAL.as_micros());
        let left = LIMIT.saturating_sub(u32::try_from(taken).unwrap());
        if self.hole != Hole::LimitIsSilent {
            let policy = format!("\"magic_link-minute\";q={LIMIT};w=60");
            headers.insert("ratelimit-policy", policy.parse().unwrap());
            headers.insert("ratelimit", format!("\"magic_link-minute\";r={left};t=1").parse().unwrap());
        }
        if allowed {
            known.arrivals.insert(client, next);
            return Ok(headers);
        }
        let mut refusal = self.refuse(429, "RATE_LIMITED", "too many");
        headers.insert("retry-after", wait.as_secs_f64().ceil().to_string().parse().unwrap());
        refusal.headers_mut().extend(headers);
        Err(Box::new(refusal))
    }

    fn send(&self, email: &str, token: &str, code: &str) {
        let mail = format!(
            "To: {email}\r\nMessage-ID: <0198a1b2-1234-5678-9ABC-DEF012345678@localhost>\r\n\r\n\
             Open this link:\r\n\r\nhttp://localhost/sign-in#token={token}\r\n\r\nor type: {code}\r\n"
        );
        let number = self.mails.fetch_add(1, Ordering::SeqCst);
        let hidden = self.mail.join(format!(".{number}.part"));
        std::fs::write(&hidden, mail).unwrap();
        std::fs::rename(hidden, self.mail.join(format!("{number:08}.eml"))).unwrap();
    }

    fn pair(&self, user_id: &str) -> Value {
        let session_id = self.world.id();
        json!({
            "access_token": self.gate.access(user_id, &session_id),
            "refresh_token": self.gate.refresh(user_id, &session_id),
            "token_type": "bearer", "expires_in": 900, "refresh_expires_in": 900,
        })
    }

    fn link_invalid(&self) -> Response {
        self.refuse(401, "MAGIC_LINK_INVALID", "the link was used, has expired or was never sent")
    }

    fn refuse(&self, status: u16, reason: &str, detail: &str) -> Response {
        let mut answer = status.answer(json!({ "detail": detail }));
        if self.hole != Hole::NoReason {
            answer.headers_mut().insert("x-quire-reason", reason.parse().unwrap());
        }
        if status == 401 && self.hole != Hole::NoChallenge {
            answer.headers_mut().insert("www-authenticate", "Bearer".parse().unwrap());
        }
        answer
    }

    fn secret(&self) -> String {
        self.world.bytes::<32>().map(|byte| format!("{byte:02x}")).concat()
    }
}

fn accepts_problems(headers: &HeaderMap) -> bool {
    headers.get("accept").is_some_and(|accept| accept == "application/problem+json")
}

trait Status {
    fn answer(self, body: Value) -> Response;
}

impl Status for u16 {
    fn answer(self, body: Value) -> Response {
        let status = axum::http::StatusCode::from_u16(self).unwrap();
        let json = [("content-type", "application/json")];
        (status, json, body.to_string()).into_response()
    }
}
