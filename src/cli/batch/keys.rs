//! Keys of a batch: from the command line, or from a file with one key per line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;

use crate::cli::error::CliError;

/// Longest line that is read: many times the longest key with every byte escaped.
const LONGEST_LINE: u64 = 1 << 20;

/// Sources of the keys: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct KeyArgs {
    /// Keys of the entries
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// File with one key per line, of any length; `-` reads standard input. A line that begins with
    /// a double quote is a JSON string
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// Keys, call by call.
pub(super) struct Keys {
    name: String,
    source: KeySource,
    size: usize,
    line: u64,
}

enum KeySource {
    Given(std::vec::IntoIter<String>),
    Lines(Box<dyn BufRead + Send>),
}

// === impl KeyArgs ===

impl KeyArgs {
    /// Opens the file, if one is named. A call has at most `size` keys.
    pub fn open(&self, size: u32) -> Result<Keys, CliError> {
        let name = self.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        let source = match &self.file {
            None => KeySource::Given(self.keys.clone().into_iter()),
            Some(_) if name == "-" => KeySource::Lines(Box::new(BufReader::new(io::stdin()))),
            Some(file) => KeySource::Lines(Box::new(BufReader::new(File::open(file).map_err(CliError::io(&name))?))),
        };
        Ok(Keys { name, source, size: size as usize, line: 0 })
    }
}

// === impl Keys ===

impl Keys {
    /// Returns the keys of the next call; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Vec<String>>, CliError> {
        let mut keys = Vec::new();
        while keys.len() < self.size
            && let Some(key) = self.next_key()?
        {
            keys.push(key);
        }
        Ok((!keys.is_empty()).then_some(keys))
    }

    fn next_key(&mut self) -> Result<Option<String>, CliError> {
        let lines = match &mut self.source {
            KeySource::Given(keys) => return Ok(keys.next()),
            KeySource::Lines(lines) => lines,
        };
        loop {
            let mut line = String::new();
            if lines.by_ref().take(LONGEST_LINE).read_line(&mut line).map_err(CliError::io(&self.name))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            match parse(&line) {
                Ok(None) => {}
                Ok(key) => return Ok(key),
                Err(why) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, format!("line {} {why}", self.line));
                    return Err(CliError::io(&self.name)(error));
                }
            }
        }
    }
}

/// Parses the key of a line; `None` if the line is empty.
fn parse(line: &str) -> Result<Option<String>, String> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.starts_with('"') {
        return serde_json::from_str(line).map(Some).map_err(|error| format!("is not a JSON string: {error}"));
    }
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &'static str, size: usize) -> Keys {
        Keys { name: "keys".to_owned(), source: KeySource::Lines(Box::new(text.as_bytes())), size, line: 0 }
    }

    #[test]
    fn a_file_is_cut_into_calls() {
        let mut keys = keys("a\r\n\nb c\n\"d\\n\"\n", 2);
        assert_eq!(keys.next().expect("valid"), Some(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(keys.next().expect("valid"), Some(vec!["d\n".to_owned()]));
        assert_eq!(keys.next().expect("valid"), None);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let error = keys("a\n\"b\n", 10).next().expect_err("an open string").text();
        assert!(error.starts_with("error: keys: line 2 is not a JSON string"), "{error}");
    }
}
