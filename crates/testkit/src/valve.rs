//! A TCP proxy that can hold back answers: what the other side did is done, but nobody hears of it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A running proxy; open at first. It ends when it is dropped, and its connections with it.
pub struct Valve {
    address: String,
    state: Arc<watch::Sender<State>>,
    accepting: JoinHandle<()>,
}

/// In one piece, so that no answer slips through between a cut and the opening that follows it.
struct State {
    open: bool,
    /// How often connections were cut; those of an earlier round are.
    round: u64,
}

impl Valve {
    /// Listens before `target`, which is `host:port`. The target need not be there yet.
    ///
    /// # Panics
    /// Nothing can be listened on.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::new(watch::Sender::new(State { open: true, round: 0 }));
        let accepting = {
            let (state, target) = (state.clone(), target.to_owned());
            tokio::spawn(async move {
                // Dropped with this task, and all connections with it.
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let round = state.borrow().round;
                    let (mut cut, target) = (state.subscribe(), target.clone());
                    let gate = Gate { state: state.subscribe(), round };
                    connections.spawn(async move {
                        tokio::select! {
                            _ = cut.wait_for(|state| state.round != round) => {}
                            () = carry(client, &target, gate) => {}
                        }
                    });
                }
            })
        };
        Self { address, state, accepting }
    }

    /// `host:port` of the proxy.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Questions still go through; answers wait here from now on.
    pub fn hold_answers(&self) {
        self.state.send_modify(|state| state.open = false);
    }

    /// Lets the answers through that wait here, and all later ones.
    pub fn let_answers_through(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Closes every connection: the answers that wait here are lost. New connections are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.round += 1);
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What the answers of one connection wait at.
struct Gate {
    state: watch::Receiver<State>,
    round: u64,
}

impl Gate {
    /// Waits until an answer may pass. False if its connection is cut.
    async fn passes(&mut self) -> bool {
        let round = self.round;
        let decided = self.state.wait_for(|state| state.open || state.round != round).await;
        decided.is_ok_and(|state| state.round == round)
    }
}

/// Carries one connection until either side closes it.
async fn carry(client: TcpStream, target: &str, gate: Gate) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, None) => {}
        () = pass(from_server, to_client, Some(gate)) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: Option<Gate>) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let passes = match &mut gate {
            None => true,
            Some(gate) => gate.passes().await,
        };
        if !passes || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every piece with itself, and tells how many bytes came.
    async fn echo() -> (String, watch::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, hears) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    heard.send_modify(|bytes| *bytes += read);
                    let _ = stream.write_all(&buffer[..read]).await;
                }
            }
        });
        (address, hears)
    }

    #[tokio::test]
    async fn answers_wait_or_are_lost_but_questions_arrive() {
        let (target, mut heard) = echo().await;
        let valve = Valve::start(&target).await;
        let mut stream = TcpStream::connect(valve.address()).await.unwrap();
        let mut answer = [0; 4];
        stream.write_all(b"one.").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();

        valve.hold_answers();
        stream.write_all(b"two.").await.unwrap();
        heard.wait_for(|bytes| *bytes == 8).await.unwrap();
        assert_eq!(stream.try_read(&mut answer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        valve.let_answers_through();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"two.");

        valve.hold_answers();
        stream.write_all(b"six.").await.unwrap();
        heard.wait_for(|bytes| *bytes == 12).await.unwrap();
        valve.cut();
        valve.let_answers_through();
        assert!(matches!(stream.read(&mut answer).await, Ok(0) | Err(_)), "the answer came");
        let mut stream = TcpStream::connect(valve.address()).await.unwrap();
        stream.write_all(b"ten.").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ten.");
    }
}
