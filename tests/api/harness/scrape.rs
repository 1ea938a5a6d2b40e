//! `Scrape`: parsed output of `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

pub struct Scrape(pub String);

impl Scrape {
    /// Value of the only series of this name that has all of these labels.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |line: &&str, (label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let mut found = self.0.lines().filter(of_name).filter(|line| labels.iter().all(|label| has(line, label)));
        let value = found.next()?.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(found.next(), None, "several of {name} {labels:?}");
        Some(value)
    }

    /// Values of the series of this name that contain `part`, by the value of a label.
    pub fn by_label(&self, name: &str, label: &str, part: &str) -> BTreeMap<String, f64> {
        let lines = self.0.lines().filter(|line| line.starts_with(name) && line.contains(part));
        let pair = |line: &str| {
            let (_, rest) = line.split_once(&format!("{label}=\""))?;
            Some((rest.split_once('"')?.0.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
        };
        lines.filter_map(pair).collect()
    }

    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{}", self.0))
    }

    /// Sum of all series of this name.
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        self.0.lines().filter(of_name).map(value).sum()
    }

    /// Kind of each family, by name.
    pub fn families(&self) -> BTreeMap<String, String> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    }

    /// Names of the labels of a family's series, except the bounds of buckets.
    pub fn labels(&self, family: &str) -> BTreeSet<String> {
        let mut labels = BTreeSet::new();
        for line in self.0.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family));
            if name == family || of_histogram {
                labels.extend(rest.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned())));
            }
        }
        labels.remove("le");
        labels
    }
}
