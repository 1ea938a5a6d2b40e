//! Latency of RPCs by method and status, from the request's headers to the response's headers.
//!
//! For a unary call that is all of the service's work. For a long-lived one, such as Watch, it is
//! the time to begin, and the status is that of the beginning.

use std::time::Instant;

use http::Response;
use tonic::{Code, Status};

use super::method_names::{OTHER, STATUSES, full_method_names};
use crate::cache::stats::LabeledHistograms;
use crate::pb::cache_service_server::SERVICE_NAME;

/// Creates an empty table with a row for every method that may be served.
pub fn table() -> LabeledHistograms {
    let methods: Vec<String> = full_method_names().chain([OTHER.to_owned()]).collect();
    let table = LabeledHistograms::new(methods.iter().map(String::as_str), STATUSES);
    let is_of_cache = |name: &&String| name.starts_with(SERVICE_NAME);
    methods.iter().filter(is_of_cache).filter_map(|name| table.row(name)).for_each(|row| table.expect(row, 0));
    table
}

/// Returns the row of the method with this path.
pub fn row(table: &LabeledHistograms, path: &str) -> usize {
    let row = table.row(path.strip_prefix('/').unwrap_or(path)).or_else(|| table.row(OTHER));
    row.unwrap_or_default()
}

/// A running RPC. If it is dropped before `end`, it counts as cancelled.
pub struct RpcMetrics<'a> {
    table: &'a LabeledHistograms,
    row: usize,
    started_at: Instant,
    ended: bool,
}

// === impl RpcMetrics ===

impl RpcMetrics<'_> {
    /// Starts to measure an RPC with this path.
    pub fn begin<'a>(table: &'a LabeledHistograms, path: &str) -> RpcMetrics<'a> {
        RpcMetrics::begin_at(table, row(table, path), Instant::now())
    }

    /// Continues to measure an RPC of the method with this row, which started at `started_at`.
    pub fn begin_at(table: &LabeledHistograms, row: usize, started_at: Instant) -> RpcMetrics<'_> {
        RpcMetrics { table, row, started_at, ended: false }
    }

    /// Records the response. A response without a status in its headers counts as OK.
    pub fn end<B>(self, response: &Response<B>) {
        self.end_with(Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()));
    }

    /// Records the status of the response.
    pub fn end_with(mut self, code: Code) {
        self.ended = true;
        self.observe(code);
    }

    fn observe(&self, code: Code) {
        self.table.observe(self.row, code as usize, self.started_at.elapsed());
    }
}

impl Drop for RpcMetrics<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.observe(Code::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpcs_are_counted_by_method_and_status_and_unknown_paths_together() {
        let table = table();
        let ok = Response::new(());
        let refused: Response<()> = Status::unavailable("no").into_http();
        RpcMetrics::begin(&table, "/twintier.v1.CacheService/Get").end(&ok);
        RpcMetrics::begin(&table, "/twintier.v1.CacheService/Get").end(&refused);
        RpcMetrics::begin(&table, "/grpc.health.v1.Health/Check").end(&ok);
        for path in ["/twintier.v1.CacheService/Gets", "/", "", "/x/y"] {
            RpcMetrics::begin(&table, path).end(&refused);
        }
        drop(RpcMetrics::begin(&table, "/twintier.v1.CacheService/Set"));
        let counted: Vec<_> = table.snapshots().filter(|(_, _, snapshot)| snapshot.count > 0).collect();
        let counted: Vec<_> = counted.iter().map(|(row, column, snapshot)| (*row, *column, snapshot.count)).collect();
        assert_eq!(
            counted,
            [
                ("twintier.v1.CacheService/Get", "OK", 1),
                ("twintier.v1.CacheService/Get", "UNAVAILABLE", 1),
                ("twintier.v1.CacheService/Set", "CANCELLED", 1),
                ("grpc.health.v1.Health/Check", "OK", 1),
                ("_OTHER", "UNAVAILABLE", 4),
            ]
        );
    }

    #[test]
    fn every_method_of_the_cache_is_listed_before_its_first_call() {
        let table = table();
        let listed = table.snapshots().map(|(row, column, _)| (row.to_owned(), column)).collect::<Vec<_>>();
        assert!(listed.contains(&("twintier.v1.CacheService/BatchGet".to_owned(), "OK")), "{listed:?}");
        assert!(listed.iter().all(|(row, column)| row.starts_with(SERVICE_NAME) && *column == "OK"), "{listed:?}");
    }
}
