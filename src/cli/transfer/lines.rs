//! Lines of a file or of standard input, with their numbers, read in a thread of their own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc;

use crate::cli::error::CliError;

/// Longest line that is read: twice the largest possible value.
const LONGEST: u64 = 1 << 30;
/// Lines that are read ahead.
const READ_AHEAD: usize = 64;

/// One line.
pub(super) struct NumberedLine {
    /// Number of the line, from 1.
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// The lines of a source.
pub(super) struct NumberedLines {
    /// Name of the source, for errors.
    pub name: String,
    /// Bytes of the source. `None` if unknown.
    pub size: Option<u64>,
    received: mpsc::Receiver<io::Result<NumberedLine>>,
}

// === impl NumberedLines ===

impl NumberedLines {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<NumberedLines, CliError> {
        let name = path.display().to_string();
        if name == "-" {
            return Ok(NumberedLines::of(name, None, io::stdin()));
        }
        let file = File::open(path).map_err(CliError::io(&name))?;
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(NumberedLines::of(name, size, file))
    }

    fn of(name: String, size: Option<u64>, source: impl Read + Send + 'static) -> NumberedLines {
        let (sender, received) = mpsc::channel(READ_AHEAD);
        tokio::task::spawn_blocking(move || read(BufReader::new(source), LONGEST, &sender));
        NumberedLines { name, size, received }
    }

    /// Returns the next line; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<NumberedLine>, CliError> {
        self.received.recv().await.transpose().map_err(CliError::io(&self.name))
    }
}

fn read(mut source: impl BufRead, longest: u64, sender: &mpsc::Sender<io::Result<NumberedLine>>) {
    for number in 1.. {
        let mut bytes = Vec::new();
        let line = match source.by_ref().take(longest).read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(read) if read as u64 == longest && !bytes.ends_with(b"\n") => {
                Err(io::Error::other(format!("line {number} must have at most {longest} bytes")))
            }
            Ok(_) => Ok(NumberedLine { number, bytes }),
            Err(error) => Err(error),
        };
        let is_last = line.is_err();
        if sender.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let (sender, mut received) = mpsc::channel(4);
        read(&b"abc\nabcd\nabc"[..], 4, &sender);
        assert_eq!(received.blocking_recv().expect("a line").expect("read").bytes, b"abc\n");
        let refused = received.blocking_recv().expect("an error").err().expect("refused").to_string();
        assert_eq!(refused, "line 2 must have at most 4 bytes");
    }

    #[tokio::test]
    async fn lines_have_their_numbers() {
        let mut lines = NumberedLines::of("x".to_owned(), None, &b"a\n\nb"[..]);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.expect("read") {
            read.push((line.number, String::from_utf8(line.bytes).expect("text")));
        }
        assert_eq!(read, [(1, "a\n".to_owned()), (2, "\n".to_owned()), (3, "b".to_owned())]);
    }
}
