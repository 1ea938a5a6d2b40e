//! A server that sends the same bytes on every connection, whatever it receives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The server. Stopped with all its connections on drop.
pub struct Impostor {
    address: SocketAddr,
    ended: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Impostor {
    /// Sends `head` once, then `body` repeatedly. Closes the connection after the head if the body
    /// is empty.
    pub async fn sending(head: &[u8], body: &[u8]) -> Impostor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (head, body): (Arc<[u8]>, Arc<[u8]>) = (head.into(), body.into());
        let accepting = tokio::spawn({
            let (ended, most) = (ended.clone(), most.clone());
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (ended, most, head, body) = (ended.clone(), most.clone(), head.clone(), body.clone());
                    connections.spawn(async move {
                        talk(stream, &head, &body, &most).await;
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
        });
        Impostor { address, ended, most, accepting: accepting.abort_handle() }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Number of connections that ended.
    pub fn closed_connections(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Most bytes that a peer read on one connection.
    pub fn max_bytes_read(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn talk(mut stream: TcpStream, head: &[u8], body: &[u8], most: &AtomicUsize) {
    let mut request = [0; 4096];
    if !matches!(stream.read(&mut request).await, Ok(1..)) || stream.write_all(head).await.is_err() {
        return;
    }
    let mut taken = head.len();
    let mut rest = body;
    while !body.is_empty()
        && let Ok(size @ 1..) = stream.write(rest).await
    {
        taken += size;
        rest = if size == rest.len() { body } else { &rest[size..] };
        most.fetch_max(taken, Ordering::Relaxed);
    }
}
