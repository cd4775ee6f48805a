//! A mail server that takes mails, or does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};

/// What it does with the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Manner {
    Takes,
    /// 421: try again later.
    Busy,
    /// 554: no mail will ever be taken.
    Refuses,
}

/// As much of RFC 5321 as a mail needs.
pub struct MailServer {
    pub url: String,
    manner: Arc<AtomicU8>,
    mails: Mutex<mpsc::UnboundedReceiver<String>>,
    turned_away: Mutex<mpsc::UnboundedReceiver<()>>,
    accepting: JoinHandle<()>,
}

impl MailServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let manner = Arc::new(AtomicU8::new(Manner::Takes as u8));
        let (mail, mails) = mpsc::unbounded_channel();
        let (away, turned_away) = mpsc::unbounded_channel();
        let present = manner.clone();
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, present.clone(), mail.clone(), away.clone()));
            }
        });
        Self { url, manner, mails: Mutex::new(mails), turned_away: Mutex::new(turned_away), accepting }
    }

    pub fn is_now(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::SeqCst);
    }

    /// The next mail that was taken, whole.
    pub async fn mail(&self) -> String {
        self.mails.lock().await.recv().await.unwrap()
    }

    /// Returns once somebody who came with a mail had to go with it.
    pub async fn turned_away(&self) {
        self.turned_away.lock().await.recv().await.unwrap();
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    client: TcpStream,
    manner: Arc<AtomicU8>,
    mails: mpsc::UnboundedSender<String>,
    away: mpsc::UnboundedSender<()>,
) {
    let mut client = BufReader::new(client);
    if client.write_all(b"220 test\r\n").await.is_err() {
        return;
    }
    let mut mail = None;
    let mut line = String::new();
    while client.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let answer = match &mut mail {
            Some(text) if line == ".\r\n" => {
                let text: &mut String = text;
                let _ = mails.send(std::mem::take(text));
                mail = None;
                "250 taken\r\n"
            }
            Some(text) => {
                text.push_str(&line);
                ""
            }
            // Asked at each mail, as clients keep their connections.
            None if line.starts_with("MAIL FROM") => match manner.load(Ordering::SeqCst) {
                taking if taking == Manner::Takes as u8 => "250 ok\r\n",
                busy if busy == Manner::Busy as u8 => "421 later\r\n",
                _ => "554 never\r\n",
            },
            None if line.starts_with("DATA") => {
                mail = Some(String::new());
                "354 go on\r\n"
            }
            None => "250 ok\r\n",
        };
        if client.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if answer.starts_with(['4', '5']) {
            let _ = away.send(());
        }
        line.clear();
    }
}
