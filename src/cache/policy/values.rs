//! Values of policy fields that have a type of their own.

/// Compression of values in the shared tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// Zstandard: smaller.
    Zstd,
    /// LZ4: faster.
    Lz4,
}

/// Consistency of a Get that names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultConsistency {
    /// Answers within the bound on staleness.
    #[default]
    Bounded,
    /// Answers of the shared tier's primary.
    Strong,
}
