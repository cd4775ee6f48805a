//! One case: a journey, during which the system is killed at one place and started again.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quire_sandbox::Behaviour;
use quire_testkit::Backend;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Mutex, watch};

use super::journey::{Journey, Walk};
use super::stage::Stage;
use crate::answer::Answer;
use crate::books::Books;
use crate::customer::Client;
use crate::model::Model;
use crate::road::{Parcel, Road};
use crate::samples;
use crate::serving::{Killed, Serving, said};
use crate::till::Till;
use crate::wait::LAST_RESORT;

/// Nothing listens there.
const NO_REDIS: &str = "redis://127.0.0.1:1";
/// The setting that kills.
const FAIL_POINT: &str = "QUIRE_FAIL_POINT";
/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What Redis does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Redis {
    Up,
    Down,
    /// Everything in it is lost between every two deliveries.
    Flushed,
}

impl Redis {
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Flushed];
}

/// Where the system is killed, and in what surroundings.
#[derive(Debug, Clone)]
pub struct Case {
    pub point: String,
    /// At which time it is reached, counted from 1.
    pub time: u64,
    pub journey: Journey,
    pub backend: Backend,
    pub redis: Redis,
}

/// What a case has come to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether the place was reached so often.
    pub killed: bool,
    pub jobs: usize,
    pub refunds: usize,
    /// Every promise that was broken, in words.
    pub broken: Vec<String>,
}

impl Outcome {
    /// Whether everything is as if nothing had happened.
    pub fn holds(&self) -> bool {
        self.killed && self.broken.is_empty()
    }

    /// Of a case that did not come to its end.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let told = panic.downcast_ref::<String>().cloned();
        let told = told.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let broken = vec![told.unwrap_or_else(|| "it panicked".to_owned())];
        Self { killed: false, jobs: 0, refunds: 0, broken }
    }
}

/// The system while it is walked through, which comes back when it is killed.
struct Run<'a> {
    folder: &'a Path,
    settings: HashMap<String, String>,
    place: watch::Sender<Option<Client>>,
    books: &'a Books,
}

impl Case {
    /// `number` chooses the Redis database, so that cases at the same time have different ones.
    pub async fn run(&self, stage: &Stage, model: &Model, number: usize) -> Outcome {
        let point = format!("{}#{}=kill", self.point, self.time);
        walk(stage, model, self.journey, (self.redis, number), &[(FAIL_POINT, &point)]).await
    }
}

/// Walks a journey on a copy of the stage; the settings are for the first start only.
pub async fn walk(
    stage: &Stage,
    model: &Model,
    journey: Journey,
    redis: (Redis, usize),
    first_start: &[(&str, &str)],
) -> Outcome {
    let scene = stage.copy().await;
    let books = scene.books().await;
    let (place, places) = watch::channel(None);
    let (redis_url, forgetting) = match redis {
        (Redis::Down, _) => (NO_REDIS.to_owned(), None),
        (mode, number) => {
            // 0 is everybody's.
            let server = quire_testkit::redis().expect("the caller has looked for it").trim_end_matches('/');
            let url = format!("{server}/{}", 1 + number % 15);
            let connection = redis::Client::open(url.as_str()).unwrap();
            let connection = connection.get_multiplexed_async_connection().await.unwrap();
            (url, (mode == Redis::Flushed).then_some(connection))
        }
    };
    let road = Road::start(carrier(places.clone(), forgetting)).await;
    // Twice, so that it matters what is remembered.
    let till = Till::start(&road.url, Behaviour { duplicates: 1, ..Behaviour::default() }).await;
    let mut settings = scene.settings(model);
    settings.insert("QUIRE_STRIPE_URL".to_owned(), till.url().to_owned());
    settings.insert("REDIS_URL".to_owned(), redis_url);

    let document = &stage.documents[&journey];
    let customer = Walk { ada: &stage.ada, document, place: places, till: &till, books: &books };
    let run = Run { folder: scene.folder.path(), settings, place, books: &books };
    let (killed, serving) = run.through(customer.run(journey), first_start).await;

    let mut broken = books.violations(&road.acknowledged()).await;
    let orders = books.orders().await;
    let jobs = books.jobs().await.iter().filter(|job| job.order_id.is_some()).count();
    let refunds = till.refunds().await;
    let [order] = orders.as_slice() else { panic!("there are {} orders", orders.len()) };
    if order.status != journey.ends_as() {
        broken.push(format!("the order is {}", order.status));
    }
    if jobs != 1 {
        broken.push(format!("there are {jobs} jobs"));
    }
    let owed = order.owed_minor();
    if refunds.iter().sum::<i64>() != owed
        || refunds.len() != usize::from(owed > 0)
        || order.refunded_minor != owed
    {
        broken.push(format!("{owed} was to be refunded: {refunds:?}, {} in the books", order.refunded_minor));
    }
    let file = customer.ask(reqwest::Method::GET, &format!("/documents/{document}/export/pdf"), None).await;
    broken.extend(check_file(&file, order.delivered_pages));
    if !broken.is_empty() {
        broken.push(said(scene.folder.path()));
    }
    serving.kill();
    Outcome { killed, jobs, refunds: refunds.len(), broken }
}

/// The file must have the pages that were settled, and there must be none if there are none.
fn check_file(file: &Answer, pages: i64) -> Option<String> {
    let counted = if file.status == 200 { samples::pages_of(&file.body) } else { 0 };
    (i64::try_from(counted) != Ok(pages)).then(|| format!("a file of {counted} pages instead of {pages}"))
}

impl Run<'_> {
    /// Keeps the system up during a walk. Whether it was killed, and the system as it runs at the end.
    async fn through(&self, walk: impl Future<Output = ()>, first_start: &[(&str, &str)]) -> (bool, Serving) {
        let mut settings = self.settings.clone();
        settings.extend(first_start.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (serving, killed) = match Serving::try_start(self.folder, &settings).await {
            Ok(serving) => (self.is_up(serving), false),
            Err(Killed) => (self.start_again().await, true),
        };
        let mut watch = Watch { run: self, serving, killed, mended: killed };
        tokio::select! {
            () = walk => {}
            never = watch.keep_up() => match never {},
        }
        // The last places of a journey may be reached when everything is there to be seen already.
        if first_start.iter().any(|(name, _)| *name == FAIL_POINT) {
            let _ = tokio::time::timeout(LAST_RESORT, watch.until_killed()).await;
        }
        watch.mend().await;
        (watch.killed, watch.serving)
    }

    /// What the dead process held ends with time; a sweep cannot wait so long.
    async fn start_again(&self) -> Serving {
        self.books.end_leases().await;
        self.is_up(Serving::start(self.folder, &self.settings).await)
    }

    fn is_up(&self, serving: Serving) -> Serving {
        self.place.send_replace(Some(serving.client.clone()));
        serving
    }
}

/// Looks after the process, beside the walk, which must go on meanwhile: whatever it waits for has a deadline.
struct Watch<'a> {
    run: &'a Run<'a>,
    serving: Serving,
    killed: bool,
    /// Whether it was started again since.
    mended: bool,
}

impl Watch<'_> {
    async fn keep_up(&mut self) -> Infallible {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            self.mend().await;
        }
    }

    async fn until_killed(&mut self) {
        let mut looks = tokio::time::interval(LOOK);
        while !self.killed {
            looks.tick().await;
            self.mend().await;
        }
    }

    /// Starts the system again if it was killed. Whoever drops this halfway must call it once more.
    async fn mend(&mut self) {
        if self.serving.was_killed() {
            assert!(!self.mended, "it was killed twice");
            self.killed = true;
            self.run.place.send_replace(None);
            self.serving = self.run.start_again().await;
            self.mended = true;
        }
    }
}

/// Carries events to wherever the gateway is at present.
fn carrier(
    place: watch::Receiver<Option<Client>>,
    forgetting: Option<MultiplexedConnection>,
) -> impl Fn(Parcel) -> std::pin::Pin<Box<dyn Future<Output = u16> + Send>> + Clone + Send + Sync + 'static {
    // One delivery at a time, or two of them would lie between two flushes.
    let forgetting = forgetting.map(|connection| Arc::new(Mutex::new(connection)));
    move |parcel| {
        let (client, forgetting) = (place.borrow().clone(), forgetting.clone());
        Box::pin(async move {
            let Some(client) = client else { return 503 };
            let _alone = match &forgetting {
                None => None,
                Some(connection) => {
                    let mut connection = connection.lock().await;
                    redis::cmd("FLUSHDB").query_async::<()>(&mut *connection).await.unwrap();
                    Some(connection)
                }
            };
            let request = client.request(reqwest::Method::POST, "/payment/webhook");
            let request = request.header("stripe-signature", parcel.signature).body(parcel.body);
            Answer::heard(request).await.map_or(502, |answer| answer.status.as_u16())
        })
    }
}
