//! The model of a history: it gives its answers one by one when it is told to, and notes who asked for what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quire_testkit::model_server::{ModelServer, Reply};
use tokio::sync::watch;

use super::step::{Mood, ORDERS};
use crate::model::{OUTLINE, plain};

/// So long may it take until somebody asks; then an answer that was to be given is none.
const LULL: Duration = Duration::from_millis(150);

/// Cheap to clone; clones are the same one.
#[derive(Clone, Default)]
pub struct Author {
    inner: Arc<Mutex<Inner>>,
    /// Calls so far.
    asked: watch::Sender<usize>,
}

#[derive(Default)]
struct Inner {
    moods: VecDeque<Mood>,
    /// Answers that are half given.
    waiting: Vec<watch::Sender<bool>>,
    /// Every call is answered at once.
    free: bool,
    calls: BTreeMap<(String, String), usize>,
    refused: BTreeMap<String, usize>,
}

impl Author {
    pub async fn serve(&self) -> ModelServer {
        let author = self.clone();
        ModelServer::start_reading(move |body, asked, _| author.reply(&body.to_string(), asked)).await
    }

    fn reply(&self, body: &str, asked: &str) -> Reply {
        let document = (0..ORDERS).map(super::run::document).find(|id| body.contains(id)).unwrap();
        let text = if asked == "outline" { OUTLINE.to_owned() } else { plain(asked) };
        let mut inner = self.inner.lock().unwrap();
        *inner.calls.entry((document.clone(), asked.to_owned())).or_default() += 1;
        let (first, second) = text.split_at(text.len() / 2);
        let reply = match inner.moods.pop_front() {
            Some(Mood::Overloaded) => Reply::Refuses(503, None),
            Some(Mood::BreaksOff) => Reply::BreaksOff(first.to_owned()),
            Some(Mood::Refuses) => {
                *inner.refused.entry(document).or_default() += 1;
                Reply::Refuses(400, None)
            }
            None if inner.free => Reply::says(&text),
            None => {
                let (sign, given) = watch::channel(false);
                inner.waiting.push(sign);
                Reply::Waits(first.to_owned(), given, second.to_owned())
            }
        };
        drop(inner);
        self.asked.send_modify(|asked| *asked += 1);
        reply
    }

    pub fn feel(&self, mood: Mood) {
        self.inner.lock().unwrap().moods.push_back(mood);
    }

    /// Ends one of the answers under way, if there is any within a while.
    pub async fn answer(&self, which: usize) {
        let mut asked = self.asked.subscribe();
        let give = || {
            let mut inner = self.inner.lock().unwrap();
            inner.waiting.retain(|sign| sign.receiver_count() > 0);
            let count = inner.waiting.len();
            (count > 0).then(|| inner.waiting.remove(which % count).send_replace(true))
        };
        let _ = tokio::time::timeout(LULL, asked.wait_for(|_| give().is_some())).await;
    }

    /// From now on it says everything at once, but for the moods that are left.
    pub fn free(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.free = true;
        for sign in inner.waiting.drain(..) {
            sign.send_replace(true);
        }
    }

    pub fn calls(&self) -> BTreeMap<(String, String), usize> {
        self.inner.lock().unwrap().calls.clone()
    }

    /// Whether it refused anything of the document for good.
    pub fn refused(&self, document: &str) -> bool {
        self.inner.lock().unwrap().refused.contains_key(document)
    }
}
