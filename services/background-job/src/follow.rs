//! Following a job: all who follow the same one in this process share one look at its log.
//!
//! A task for each job that is followed reads what is new, once, and keeps the newest events. Who follows takes them from
//! there; who comes late or falls behind reads the log until it has caught up. So a thousand readers cost the database
//! as much as one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::Stream;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::events::{is_final, woken};
use crate::store::Store;
use crate::store::entity::event;

/// Events read at once.
const BATCH: u64 = 200;
/// Events kept for those who follow closely.
const KEPT: usize = 256;
/// Without a wake-up, it is looked this often: events may come from another process.
const POLL: Duration = Duration::from_millis(500);

/// The jobs that are followed. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct Feeds(Arc<Mutex<HashMap<String, Weak<Feed>>>>);

/// One job that is followed, for as long as somebody does.
struct Feed {
    /// `None` until the first look.
    tail: watch::Receiver<Option<Tail>>,
    _looking: AbortOnDropHandle<()>,
}

/// The end of a job's log.
#[derive(Clone, Default)]
struct Tail {
    /// The number before the first of `events`.
    from: i64,
    events: Arc<[Arc<event::Model>]>,
    /// Nothing comes any more.
    ended: bool,
}

impl Tail {
    fn last(&self) -> i64 {
        self.events.last().map_or(self.from, |event| event.seq)
    }

    /// What comes after a number; `None` if some of it is no longer here.
    fn after(&self, seq: i64) -> Option<&[Arc<event::Model>]> {
        let place = self.events.partition_point(|event| event.seq <= seq);
        (seq >= self.from).then(|| &self.events[place..])
    }

    fn add(&mut self, new: Vec<Arc<event::Model>>) {
        let mut events = [&*self.events, &new].concat();
        let spare = events.len().saturating_sub(KEPT);
        if let Some(dropped) = events.drain(..spare).next_back() {
            self.from = dropped.seq;
        }
        self.events = events.into();
    }
}

impl Feeds {
    /// Every event of a job after a number, then new ones as they come. Ends after the job's last event, and at the
    /// shutdown.
    pub fn follow(
        &self,
        store: Store,
        job_id: String,
        after_seq: i64,
        shutdown: CancellationToken,
    ) -> impl Stream<Item = Result<event::Model, DbErr>> + Send + use<> {
        let feed = self.of(&store, &job_id);
        async_stream::try_stream! {
            let mut tails = feed.tail.clone();
            let mut after = after_seq;
            loop {
                // Marked as seen before it is looked at, so that nothing falls between the two.
                let tail = tails.borrow_and_update().clone();
                if let Some(tail) = tail {
                    let old;
                    let events = match tail.after(after) {
                        Some(events) => events,
                        None => {
                            old = read(&store, &job_id, after).await?;
                            old.as_slice()
                        }
                    };
                    let found = !events.is_empty();
                    for event in events {
                        after = event.seq;
                        yield event::Model::clone(event);
                        if is_final(&event.kind) {
                            return;
                        }
                    }
                    if found {
                        continue;
                    }
                    // A reader that has seen the last event already, or comes when they are deleted.
                    if tail.ended {
                        return;
                    }
                }
                tokio::select! {
                    changed = tails.changed() => if changed.is_err() { return },
                    () = shutdown.cancelled() => return,
                }
            }
        }
    }

    fn of(&self, store: &Store, job_id: &str) -> Arc<Feed> {
        // Whole at every moment: a panic of another holder leaves nothing half done.
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(job_id).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let (tails, tail) = watch::channel(None);
        let looking = tokio::spawn(keep_looking(store.clone(), job_id.to_owned(), tails));
        let feed = Arc::new(Feed { tail, _looking: AbortOnDropHandle::new(looking) });
        feeds.insert(job_id.to_owned(), Arc::downgrade(&feed));
        feed
    }
}

/// Until the job has ended. The last tail stays readable.
async fn keep_looking(store: Store, job_id: String, tails: watch::Sender<Option<Tail>>) {
    // Subscribed before the first look, so that nothing falls between the two.
    let mut wakes = store.wakes.events.subscribe();
    loop {
        match look(&store, &job_id, &tails).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => tracing::warn!(job_id, %error, "the events cannot be read right now"),
        }
        tokio::select! {
            () = woken(&mut wakes, &job_id) => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
    // Who follows learns from the tail that it ended, not from a closed channel.
    tails.closed().await;
}

/// Adds what is new. Whether the job has ended.
async fn look(store: &Store, job_id: &str, tails: &watch::Sender<Option<Tail>>) -> Result<bool, DbErr> {
    // In this order: after the end there are no events that the reading could miss.
    let job = store.job(job_id).await?;
    let ended = job.as_ref().is_none_or(|job| job.status().is_final());
    let known = tails.borrow().clone();
    let first = known.is_none();
    // Those who want what was before have to read it anyway.
    let mut tail =
        known.unwrap_or_else(|| Tail { from: job.map_or(0, |job| job.last_seq), ..Tail::default() });
    let mut changed = first || ended;
    loop {
        let new = read(store, job_id, tail.last()).await?;
        let all = new.len() < BATCH as usize;
        changed |= !new.is_empty();
        tail.add(new);
        if all {
            break;
        }
    }
    if changed {
        tail.ended = ended;
        tails.send_replace(Some(tail));
    }
    Ok(ended)
}

async fn read(store: &Store, job_id: &str, after: i64) -> Result<Vec<Arc<event::Model>>, DbErr> {
    let events = event::Entity::find()
        .filter(event::Column::JobId.eq(job_id))
        .filter(event::Column::Seq.gt(after))
        .order_by_asc(event::Column::Seq)
        .limit(BATCH)
        .all(store.database.reader())
        .await?;
    Ok(events.into_iter().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(from: i64, to: i64) -> Vec<Arc<event::Model>> {
        let event = |seq| event::Model {
            job_id: "job".to_owned(),
            seq,
            kind: "text".to_owned(),
            data: String::new(),
            at: 0,
        };
        (from..=to).map(event).map(Arc::new).collect()
    }

    #[test]
    fn a_tail_has_the_newest_and_says_when_it_has_not_all() {
        let mut tail = Tail { from: 10, ..Tail::default() };
        assert_eq!((tail.last(), tail.after(10), tail.after(9)), (10, Some(&[][..]), None));
        tail.add(events(11, 20));
        assert_eq!((tail.last(), tail.from), (20, 10));
        assert_eq!(tail.after(10), Some(&*events(11, 20)));
        assert_eq!(tail.after(18), Some(&*events(19, 20)));
        assert_eq!((tail.after(20), tail.after(99)), (Some(&[][..]), Some(&[][..])));
        tail.add(events(21, 10 + KEPT as i64 + 5));
        assert_eq!((tail.from, tail.events.len()), (15, KEPT));
        assert_eq!((tail.after(14), tail.after(15).map(<[_]>::len)), (None, Some(KEPT)));
    }
}
