//! The known name nearest to one that is unknown.

/// The nearest of `known`, if it is near enough to be what was meant.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = unknown.len().div_ceil(4).max(2);
    known
        .map(|name| (distance(&unknown.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance: how many characters to insert, delete or replace.
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
    }
}
