//! A small Redis client, independent of the code under test.

use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A reply of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Number(i64),
    Text(Vec<u8>),
    Error(String),
    List(Vec<Reply>),
}

impl Reply {
    pub fn text(&self) -> String {
        match self {
            Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not a text: {other:?}"),
        }
    }

    pub fn number(&self) -> i64 {
        match self {
            Reply::Number(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }
}

/// Runs one command on a new connection.
pub async fn command<A: AsRef<[u8]>>(port: u16, args: &[A]) -> std::io::Result<Reply> {
    ask(&mut BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?), args).await
}

/// Runs one command as a user without a password.
pub async fn command_as<A: AsRef<[u8]>>(port: u16, user: &str, args: &[A]) -> std::io::Result<Reply> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    ask(&mut stream, &["AUTH", user, "any"]).await?;
    ask(&mut stream, args).await
}

async fn ask<A: AsRef<[u8]>>(stream: &mut BufReader<TcpStream>, args: &[A]) -> std::io::Result<Reply> {
    let mut request = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        request.extend_from_slice(arg);
        request.extend_from_slice(b"\r\n");
    }
    stream.write_all(&request).await?;
    read(stream).await
}

fn read(stream: &mut BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = std::io::Result<Reply>> + Send + '_>> {
    Box::pin(async move {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        match kind {
            "+" => Ok(Reply::Text(rest.into())),
            "-" => Ok(Reply::Error(rest.into())),
            ":" => Ok(Reply::Number(number()?)),
            "$" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nil) };
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Ok(Reply::Text(bytes))
            }
            "*" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nil) };
                let mut list = Vec::with_capacity(length);
                for _ in 0..length {
                    list.push(read(stream).await?);
                }
                Ok(Reply::List(list))
            }
            other => Err(std::io::Error::other(format!("unknown reply {other:?}"))),
        }
    })
}
