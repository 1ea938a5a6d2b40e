//! Histograms by two labels of fixed values. Each is created at its first use, to save memory.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use super::histogram::{Histogram, Snapshot};

/// Histograms by row and column. Recording takes no lock.
pub struct LabeledHistograms {
    rows: Vec<Box<str>>,
    by_name: HashMap<Box<str>, usize>,
    columns: &'static [&'static str],
    cells: Box<[OnceLock<Histogram>]>,
}

// === impl LabeledHistograms ===

impl LabeledHistograms {
    /// Creates the table, with no histogram in use.
    pub fn new<Name: Into<Box<str>>>(
        rows: impl IntoIterator<Item = Name>,
        columns: &'static [&'static str],
    ) -> LabeledHistograms {
        let rows: Vec<Box<str>> = rows.into_iter().map(Into::into).collect();
        let by_name = rows.iter().cloned().zip(0..).collect();
        let cells = (0..rows.len() * columns.len()).map(|_| OnceLock::new()).collect();
        LabeledHistograms { rows, by_name, columns, cells }
    }

    /// Returns the row of that name.
    pub fn row(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Records a duration. An unknown row or column is ignored.
    pub fn observe(&self, row: usize, column: usize, duration: Duration) {
        if let Some(histogram) = self.cell(row, column) {
            histogram.observe(duration);
        }
    }

    /// Lists the histogram even if nothing is recorded.
    pub fn expect(&self, row: usize, column: usize) {
        _ = self.cell(row, column);
    }

    /// Returns the histograms in use, each with the names of its row and column.
    pub fn snapshots(&self) -> impl Iterator<Item = (&str, &'static str, Snapshot)> {
        let used = |(index, cell): (usize, &OnceLock<Histogram>)| Some((index, cell.get()?.snapshot()));
        self.cells.iter().enumerate().filter_map(used).map(|(index, snapshot)| {
            let (row, column) = (index / self.columns.len(), index % self.columns.len());
            (&*self.rows[row], self.columns[column], snapshot)
        })
    }

    fn cell(&self, row: usize, column: usize) -> Option<&Histogram> {
        if column >= self.columns.len() {
            return None;
        }
        Some(self.cells.get(row * self.columns.len() + column)?.get_or_init(Histogram::default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_observed_is_listed_by_its_names_and_nothing_else() {
        let family = LabeledHistograms::new(["get", "set"], &["OK", "UNKNOWN"]);
        assert_eq!((family.row("set"), family.row("other")), (Some(1), None));
        family.observe(1, 0, Duration::from_millis(1));
        family.observe(1, 0, Duration::from_millis(1));
        family.expect(0, 1);
        for nowhere in [(1, 2), (2, 0)] {
            family.observe(nowhere.0, nowhere.1, Duration::ZERO);
        }
        let all: Vec<_> = family.snapshots().map(|(row, column, snapshot)| (row, column, snapshot.count)).collect();
        assert_eq!(all, [("get", "UNKNOWN", 0), ("set", "OK", 2)]);
    }
}
