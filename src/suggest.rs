//! Suggestion for an unknown name: the nearest known one.

/// Longest name that is compared, in bytes. A longer one is no misspelling of a known name.
const MAX_NAME_BYTES: usize = 256;

/// Returns the nearest of `known`, if it is near enough to be meant.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > MAX_NAME_BYTES {
        return None;
    }
    let (unknown, length) = (unknown.to_lowercase(), unknown.chars().count());
    let most = unknown.len().div_ceil(4).max(2);
    known
        .filter(|name| name.len() <= MAX_NAME_BYTES && name.chars().count().abs_diff(length) <= most)
        .map(|name| (distance(&unknown, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// Formats the suggestion at the end of an error about an unknown name; empty if no name is near.
pub fn did_you_mean<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(unknown, known).map_or(String::new(), |known| format!("; did you mean {known}?"))
}

/// Levenshtein distance: the number of characters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, c) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (from, to, edits) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("l1.size", "l1.sizes", 1)] {
            assert_eq!(distance(from, to), edits, "{from} {to}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["l1.size", "l1.eviction", "redis.url"];
        assert_eq!(nearest("L1.sise", known.into_iter()), Some("l1.size"));
        assert_eq!(nearest("redis.uri", known.into_iter()), Some("redis.url"));
        assert_eq!(nearest("entirely.else", known.into_iter()), None);
        assert_eq!(did_you_mean("redis.uri", known.into_iter()), "; did you mean redis.url?");
        assert_eq!(did_you_mean("entirely.else", known.into_iter()), "");
    }

    #[test]
    fn a_name_far_too_long_is_not_compared() {
        let long = "x".repeat(1_000_000);
        assert_eq!(nearest(&long, [long.as_str()].into_iter()), None);
    }
}
