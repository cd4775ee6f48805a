//! A Redis that cannot be trusted: a proxy before a real one that gives wrong answers, as its seed has it.
//!
//! What is a hit becomes a miss and a miss a hit, what was to be remembered is forgotten, and answers are errors, come
//! late, or never because the connection is closed. Scripts and everything else are carried faithfully, but they too
//! may fail, be late or be cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures::{SinkExt, StreamExt};
use redis_protocol::codec::Resp2;
use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::types::BytesFrame as Frame;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::Framed;

/// Longer than any caller waits for Redis.
const LATE: Duration = Duration::from_millis(120);

/// How one command can be answered wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lie {
    /// What is not there is said to be there.
    Invented,
    /// What is there is said not to be there.
    Denied,
    /// What was to be stored is not, and the answer says that it is.
    Forgotten,
    /// An error, and nothing was done.
    Failed,
    /// The truth, too late.
    Late,
    /// No answer: the connection is closed. The command was carried out.
    Closed,
}

impl Lie {
    pub const ALL: [Self; 6] =
        [Self::Invented, Self::Denied, Self::Forgotten, Self::Failed, Self::Late, Self::Closed];
}

/// A running proxy. It ends when it is dropped.
pub struct LyingRedis {
    url: String,
    told: Told,
    accepting: JoinHandle<()>,
}

/// How often each lie was told.
type Told = Arc<Mutex<HashMap<Lie, usize>>>;

impl LyingRedis {
    /// Listens before the Redis at `redis_url`. The same seed draws the same lies for the same commands of a connection.
    ///
    /// # Panics
    /// The address is not of the form `redis://host:port`, or nothing can be listened on.
    pub async fn start(redis_url: &str, seed: u64) -> Self {
        let target = redis_url.strip_prefix("redis://").expect("a plain Redis address").trim_end_matches('/');
        let target = target.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
        let told = Told::default();
        let accepting = {
            let told = told.clone();
            tokio::spawn(async move {
                // Dropped with this task, and all connections with it.
                let mut connections = JoinSet::new();
                let mut seeds = Rng::with_seed(seed);
                while let Ok((client, _)) = listener.accept().await {
                    let liar = Liar { dice: Rng::with_seed(seeds.u64(..)), told: told.clone() };
                    connections.spawn(serve(client, target.clone(), liar));
                }
            })
        };
        Self { url, told, accepting }
    }

    /// `redis://…` of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often this lie was told so far.
    pub fn told(&self, lie: Lie) -> usize {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&lie).copied().unwrap_or_default()
    }
}

impl Drop for LyingRedis {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Decides about the answers on one connection.
struct Liar {
    dice: Rng,
    told: Told,
}

/// What a command does, as far as a lie about it differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Look,
    Store,
    Other,
}

impl Liar {
    /// Every second look and store is answered wrongly. Failures are rare: after one, a careful client asks nothing for
    /// a while, and then it cannot be lied to either.
    fn draw(&mut self, deed: Deed, truth: &Frame) -> Option<Lie> {
        let lie = match self.dice.u8(0..100) {
            0 => Some(Lie::Late),
            1 => Some(Lie::Closed),
            2..50 if deed == Deed::Look => Some(if is_hit(truth) { Lie::Denied } else { Lie::Invented }),
            _ => None,
        };
        self.note(lie)
    }

    /// The lies that are told without asking.
    fn draw_unasked(&mut self, deed: Deed) -> Option<Lie> {
        let lie = match self.dice.u8(0..100) {
            0 => Some(Lie::Failed),
            1..50 if deed == Deed::Store => Some(Lie::Forgotten),
            _ => None,
        };
        self.note(lie)
    }

    fn note(&self, lie: Option<Lie>) -> Option<Lie> {
        if let Some(lie) = lie {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner).entry(lie).or_default() += 1;
        }
        lie
    }
}

/// Answers one connection until either side closes it.
async fn serve(client: TcpStream, target: String, mut liar: Liar) -> Result<(), RedisProtocolError> {
    let server = TcpStream::connect(&target).await?;
    let mut client = Framed::new(client, Resp2::default());
    let mut server = Framed::new(server, Resp2::default());
    while let Some(command) = client.next().await {
        let command = command?;
        let Some(deed) = deed(&command) else {
            // A connection is set up before anything is asked over it: without that, nobody would hear a lie.
            server.send(command).await?;
            let Some(truth) = server.next().await else { return Ok(()) };
            client.send(truth?).await?;
            continue;
        };
        match liar.draw_unasked(deed) {
            Some(Lie::Failed) => {
                client.send(Frame::Error("ERR this is not true".into())).await?;
                continue;
            }
            Some(_) => {
                client.send(Frame::SimpleString("OK".into())).await?;
                continue;
            }
            None => {}
        }
        server.send(command).await?;
        let Some(truth) = server.next().await else { return Ok(()) };
        let truth = truth?;
        let answer = match liar.draw(deed, &truth) {
            Some(Lie::Closed) => return Ok(()),
            Some(Lie::Late) => {
                tokio::time::sleep(LATE).await;
                truth
            }
            Some(_) => contrary(&truth),
            None => truth,
        };
        client.send(answer).await?;
    }
    Ok(())
}

/// What a command does; nothing for those that set up the connection.
fn deed(command: &Frame) -> Option<Deed> {
    let Frame::Array(words) = command else { return Some(Deed::Other) };
    let Some(Frame::BulkString(name)) = words.first() else { return Some(Deed::Other) };
    match name.to_ascii_uppercase().as_slice() {
        b"CLIENT" | b"HELLO" | b"AUTH" | b"SELECT" | b"PING" => None,
        b"GET" | b"EXISTS" => Some(Deed::Look),
        b"SET" => Some(Deed::Store),
        _ => Some(Deed::Other),
    }
}

fn is_hit(answer: &Frame) -> bool {
    matches!(answer, Frame::Integer(1..) | Frame::BulkString(_))
}

fn contrary(answer: &Frame) -> Frame {
    match answer {
        Frame::Integer(0) => Frame::Integer(1),
        Frame::Integer(_) => Frame::Integer(0),
        Frame::BulkString(_) => Frame::Null,
        Frame::Null => Frame::BulkString("1".into()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use redis::{AsyncCommands, Client};

    use super::*;

    /// Asks for keys that are there and keys that are not until each lie was told.
    #[tokio::test]
    async fn every_lie_is_told_and_the_truth_too() {
        let Some(url) = crate::redis() else { return };
        let liar = LyingRedis::start(url, 7).await;
        let honest = Client::open(url).unwrap();
        let mut honest = honest.get_multiplexed_async_connection().await.unwrap();
        let (there, gone) = ("quire:testkit:liar:there", "quire:testkit:liar:gone");
        honest.set::<_, _, ()>(there, 1).await.unwrap();
        let client = Client::open(liar.url()).unwrap();
        let (mut truths, mut failures) = (0, 0);
        while Lie::ALL.iter().any(|lie| liar.told(*lie) == 0) || truths == 0 {
            // A closed connection is made anew.
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { continue };
            loop {
                let stored: redis::RedisResult<()> = connection.set(there, 1).await;
                let found: redis::RedisResult<(bool, bool)> =
                    async { Ok((connection.exists(there).await?, connection.exists(gone).await?)) }.await;
                match (stored, found) {
                    (Ok(()), Ok(found)) => truths += usize::from(found == (true, false)),
                    (_, Err(error)) | (Err(error), _) => {
                        failures += 1;
                        if error.is_connection_dropped() || error.is_io_error() {
                            break;
                        }
                    }
                }
            }
        }
        assert!(failures >= liar.told(Lie::Closed), "a closed connection went unnoticed");
        honest.del::<_, ()>(there).await.unwrap();
    }

    #[test]
    fn a_hit_and_a_miss_are_each_others_contrary() {
        for (truth, hit) in [
            (Frame::Integer(0), false),
            (Frame::Integer(1), true),
            (Frame::Null, false),
            (Frame::BulkString("1".into()), true),
        ] {
            assert_eq!(is_hit(&truth), hit);
            assert_eq!(is_hit(&contrary(&truth)), !hit);
        }
    }
}
