//! Names and constructors of all tracing spans.
//!
//! The exporter decides which spans are recorded, and where they are sent; without one, creating a
//! span costs about a nanosecond. Attributes never hold keys or values of entries.

use tracing::Span;
use tracing::field::{Empty, Value};

/// Target of every span, and of no log line.
pub const TARGET: &str = "twintier::span";
/// The span of an RPC. Its creator has decided that it is recorded.
pub const RPC: &str = "twintier.rpc";
/// The span of an applied message. It begins a trace. All other spans exist only inside of another.
pub const APPLY: &str = "twintier.apply";

/// The namespace.
pub const NAMESPACE: &str = "twintier.namespace";
/// Outcome, as one word.
pub const OUTCOME: &str = "twintier.outcome";
/// The tier that answered.
pub const TIER: &str = "twintier.tier";
/// True if the shared tier was needed and could not be reached.
pub const DEGRADED: &str = "twintier.degraded";
/// Number of entries in a batch.
pub const ITEMS: &str = "twintier.items";

/// Creates the span of a fetch, in the trace of the first Get that waits for it.
pub fn fetch() -> Span {
    tracing::info_span!(target: TARGET, "twintier.fetch", { OUTCOME } = Empty)
}

/// Creates the span of a lease round, in the trace of the Get that began it.
pub fn round() -> Span {
    tracing::info_span!(target: TARGET, "twintier.lease", { OUTCOME } = Empty)
}

/// Creates the span of a wait for another Get, with a link to its span.
pub fn wait(other: &Span) -> Span {
    let span = tracing::info_span!(target: TARGET, "twintier.wait");
    span.follows_from(other);
    span
}

/// Returns the current span, if spans are recorded.
pub fn here() -> Span {
    if tracing::span_enabled!(target: TARGET, tracing::Level::INFO) { Span::current() } else { Span::none() }
}

/// Records an attribute of the current span, if it has that attribute.
pub fn note(attribute: &str, value: impl Value) {
    here().record(attribute, value);
}
