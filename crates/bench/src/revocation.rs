//! How long a session outlives its logout, as the gateway sees it.

use std::time::{Duration, Instant};

use anyhow::bail;
use quire::customer::Customer;

use crate::server::Server;

const ROUNDS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(10);

/// Logs sessions out one after the other and asks the gateway, as fast as it answers, for something that no session
/// is read for (`/documents`), until it refuses. Answers the median and the longest time.
///
/// # Errors
/// The gateway refuses a sign-in, or lets an ended session in for ten seconds.
pub(crate) async fn measure(server: &Server, callers: usize) -> anyhow::Result<String> {
    let mut busy = Customer::new(&server.gateway)?;
    busy.sign_in("busy@example.org", &server.mail_dir()).await?;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..callers.min(4) {
        let (busy, stop) = (busy.clone(), stop.clone());
        others.spawn(async move {
            while !stop.is_cancelled() {
                let _ = busy.get("/documents").await;
            }
        });
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let mut customer = Customer::new(&server.gateway)?;
        customer.sign_in(&format!("leaving-{round}@example.org"), &server.mail_dir()).await?;
        customer.get("/documents").await?;
        customer.post("/auth/logout", &serde_json::Value::Null).await?;
        let started = Instant::now();
        while customer.get("/documents").await.is_ok() {
            if started.elapsed() > PATIENCE {
                bail!("an ended session was let in for {} s", PATIENCE.as_secs());
            }
        }
        times.push(started.elapsed());
    }
    stop.cancel();
    others.join_all().await;
    times.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    Ok(format!("p50 {:.1} ms  longest {:.1} ms", millis(times.get(ROUNDS / 2)), millis(times.last())))
}
