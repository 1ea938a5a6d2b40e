//! What is traced, in the words of the tracing crate: which spans there are and how they hang together. Whether any is made, and where it goes,
//! is decided elsewhere; where nobody listens, making one costs about a nanosecond. Attributes never hold keys or values of entries.

use tracing::Span;
use tracing::field::{Empty, Value};

/// The target of every span, and of nothing else.
pub const TARGET: &str = "twintier::span";
/// The span of an RPC. Whoever makes one has decided that it is wanted.
pub const RPC: &str = "twintier.rpc";
/// The span of a message that is applied. It begins a trace. All other spans exist only inside of another.
pub const APPLY: &str = "twintier.apply";

/// The namespace.
pub const NAMESPACE: &str = "twintier.namespace";
/// What came of it, in one word.
pub const OUTCOME: &str = "twintier.outcome";
/// The tier that answered.
pub const TIER: &str = "twintier.tier";
/// The shared tier was needed and could not be asked.
pub const DEGRADED: &str = "twintier.degraded";
/// How many entries a batch names.
pub const ITEMS: &str = "twintier.items";

/// A read of the shared tier for all who want the entry now, in the trace of the first of them.
pub fn fetch() -> Span {
    tracing::info_span!(target: TARGET, "twintier.fetch", { OUTCOME } = Empty)
}

/// The round of a lease, in the trace of the Get that began it.
pub fn round() -> Span {
    tracing::info_span!(target: TARGET, "twintier.lease", { OUTCOME } = Empty)
}

/// Waiting for what another Get has begun, with a link to that.
pub fn wait(other: &Span) -> Span {
    let span = tracing::info_span!(target: TARGET, "twintier.wait");
    span.follows_from(other);
    span
}

/// The span at hand, if there is one.
pub fn here() -> Span {
    match tracing::span_enabled!(target: TARGET, tracing::Level::INFO) {
        true => Span::current(),
        false => Span::none(),
    }
}

/// Says something of the span at hand, if there is one and it has that attribute.
pub fn note(attribute: &str, value: impl Value) {
    here().record(attribute, value);
}
