//! How long RPCs take, by method and status: from the request's head until the head of the response is made. Of a call that is answered once that
//! is all of the service's work; of one that lasts, such as Watch, it says how long it took to begin, and its status is that of the beginning.

use std::time::Instant;

use http::Response;
use tonic::{Code, Status};

use super::method_names::{OTHER, STATUSES, served};
use crate::cache::stats::LabeledHistograms;
use crate::pb::cache_service_server::SERVICE_NAME;

/// An empty table, of every method that may be served.
pub fn table() -> LabeledHistograms {
    let methods: Vec<String> = served().chain([OTHER.to_owned()]).collect();
    let table = LabeledHistograms::new(methods.iter().map(String::as_str), STATUSES);
    let of_the_cache = |name: &&String| name.starts_with(SERVICE_NAME);
    methods.iter().filter(of_the_cache).filter_map(|name| table.row(name)).for_each(|row| table.expect(row, 0));
    table
}

/// An RPC under way. Dropped before its end, its caller has left.
pub struct RpcMetrics<'a> {
    table: &'a LabeledHistograms,
    row: usize,
    begun: Instant,
    ended: bool,
}

// === impl Timing ===

impl RpcMetrics<'_> {
    /// The RPC of this path begins.
    pub fn begin<'a>(table: &'a LabeledHistograms, path: &str) -> RpcMetrics<'a> {
        let row = table.row(path.strip_prefix('/').unwrap_or(path)).or_else(|| table.row(OTHER));
        RpcMetrics { table, row: row.unwrap_or_default(), begun: Instant::now(), ended: false }
    }

    /// It is answered. A response whose head has no status goes well as far as can be told.
    pub fn end<B>(mut self, response: &Response<B>) {
        self.ended = true;
        self.observe(Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()));
    }

    fn observe(&self, code: Code) {
        self.table.observe(self.row, code as usize, self.begun.elapsed());
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
    fn rpcs_are_told_apart_by_method_and_status_and_strange_paths_are_one() {
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
