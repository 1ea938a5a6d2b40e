//! Raw frames of HTTP/2, for peers that no client library would be.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::wire::connect_from;
use super::{WAIT_TIMEOUT, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const ENHANCE_YOUR_CALM: u8 = 11;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a Get: names and values as they are, without Huffman codes.
pub fn get_headers() -> Vec<u8> {
    let path = "/twintier.v1.CacheService/Get";
    let literal = |name: &str, value: &str| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    // Indexed: POST and http.
    let indexed = vec![0x83, 0x86];
    let path = [&[4, path.len() as u8], path.as_bytes()].concat();
    [
        indexed,
        path,
        literal(":authority", "localhost"),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
    ]
    .concat()
}

/// A connection that writes frames.
pub struct FramePeer {
    pub stream: TcpStream,
    next_stream: u32,
}

impl FramePeer {
    pub async fn connect(n: u8, address: SocketAddr) -> FramePeer {
        let mut stream = connect_from(n, address).await;
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        FramePeer { stream, next_stream: 1 }
    }

    /// Writes frames again and again until the server closes the connection. Returns the reason of
    /// its GOAWAY. `None` if there was none.
    pub async fn flood(self, first: Vec<u8>, mut frames: impl FnMut(u32) -> Vec<u8>) -> Option<u8> {
        let FramePeer { stream, mut next_stream } = self;
        let (mut read, mut write) = stream.into_split();
        let writing = async {
            if write.write_all(&first).await.is_err() {
                return;
            }
            // Ten times what a peer may send at once.
            for _ in 0..2_000 {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    next_stream += 2;
                    bytes.extend(frames(next_stream));
                }
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        let mut bytes = Vec::new();
        let reading = async {
            // A reset may follow the GOAWAY.
            let _ = read.read_to_end(&mut bytes).await;
        };
        within(WAIT_TIMEOUT, async { tokio::join!(writing, reading) }).await;
        let mut rest = &bytes[..];
        while let Some((head, behind)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if head[3] == GOAWAY {
                return behind.get(7).copied();
            }
            rest = behind.get(length..).unwrap_or_default();
        }
        None
    }
}
