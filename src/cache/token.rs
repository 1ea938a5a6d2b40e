//! Tokens: the positions a caller has seen, one per partition. Opaque text to callers.

use super::version::{NotAVersion, Version, number};

/// Positions by partition, sorted. Empty if the caller has seen nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(Vec<(u16, Version)>);

impl Token {
    /// The empty token.
    pub const EMPTY: Token = Token(Vec::new());

    /// Creates a token of one position.
    pub fn at(partition: u16, version: Version) -> Token {
        Token(vec![(partition, version)])
    }

    /// Returns true if it has no position.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the position of `partition`, or zero if there is none.
    pub fn position(&self, partition: u16) -> Version {
        match self.0.binary_search_by_key(&partition, |(p, _)| *p) {
            Ok(index) => self.0[index].1,
            Err(_) => Version::ZERO,
        }
    }

    /// Returns the partitions that have a position.
    pub fn partitions(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().map(|(partition, _)| *partition)
    }

    /// Adds a position, and keeps the later one of a partition.
    pub fn add(&mut self, partition: u16, version: Version) {
        match self.0.binary_search_by_key(&partition, |(p, _)| *p) {
            Ok(index) => self.0[index].1 = self.0[index].1.max(version),
            Err(index) => self.0.insert(index, (partition, version)),
        }
    }

    /// Adds all positions of `other`.
    pub fn merge(&mut self, other: &Token) {
        for (partition, version) in &other.0 {
            self.add(*partition, *version);
        }
    }

    /// Encodes it: `1.<partitions>` and `.<partition>-<epoch>-<sequence>` for each position.
    pub fn encode(&self, partitions: u16) -> String {
        let mut text = String::with_capacity(8 + 28 * self.0.len());
        let mut digits = itoa::Buffer::new();
        text.push_str("1.");
        text.push_str(digits.format(partitions));
        for (partition, version) in &self.0 {
            text.push('.');
            text.push_str(digits.format(*partition));
            text.push('-');
            version.spell(|part| text.push_str(part));
        }
        text
    }

    /// Decodes the text of [`encode`](Token::encode) in a deployment of as many partitions.
    pub fn decode(text: &str, partitions: u16) -> Result<Token, BadToken> {
        let mut parts = text.split('.');
        if parts.next() != Some("1") {
            return Err(BadToken::Malformed);
        }
        let theirs = parts.next().and_then(|n| number(n).ok()).ok_or(BadToken::Malformed)?;
        if theirs != u64::from(partitions) {
            return Err(BadToken::Partitions { theirs, ours: partitions });
        }
        let mut token = Token::default();
        for part in parts {
            let (partition, version) = part.split_once('-').ok_or(BadToken::Malformed)?;
            let partition = number(partition)?;
            if partition >= u64::from(partitions) {
                return Err(BadToken::Malformed);
            }
            token.add(partition as u16, version.parse()?);
        }
        Ok(token)
    }
}

/// Error of a text that is no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// The text is not from a response.
    #[error("must be a token as a response gave it")]
    Malformed,
    /// The token is from a deployment with another number of partitions.
    #[error("is from a deployment of {theirs} partitions; this one has {ours}")]
    Partitions {
        /// Partitions of the deployment that created it.
        theirs: u64,
        /// Partitions of this deployment.
        ours: u16,
    },
}

impl From<NotAVersion> for BadToken {
    fn from(_: NotAVersion) -> Self {
        BadToken::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_keeps_the_latest_position_of_each_partition() {
        let mut token = Token::at(3, Version::new(1, 5));
        token.merge(&Token::at(3, Version::new(1, 4)));
        token.merge(&Token::at(1, Version::new(2, 1)));
        assert_eq!(token.position(3), Version::new(1, 5));
        assert_eq!(token.position(1), Version::new(2, 1));
        assert_eq!(token.position(2), Version::ZERO);
        assert_eq!(Token::decode(&token.encode(8), 8), Ok(token));
    }

    #[test]
    fn a_token_of_another_deployment_is_told_apart() {
        let text = Token::at(3, Version::new(1, 5)).encode(8);
        assert_eq!(Token::decode(&text, 64), Err(BadToken::Partitions { theirs: 8, ours: 64 }));
        for bad in ["", "1", "2.8", "1.8.9-1-1", "1.8.1-1", "1.8.", "1.8.1-1-x", "é"] {
            assert_eq!(Token::decode(bad, 8), Err(BadToken::Malformed), "{bad}");
        }
    }
}
