//! Fields of a policy as text, as replicas leave them for one another.

use std::time::Duration;

use super::values::{Compression, DefaultConsistency};

/// A value that can be written down.
pub trait FieldText: Sized {
    /// Writes it down.
    fn write(&self) -> String;
    /// Reads it; none: it is no such value, or one of another release.
    fn read(text: &str) -> Option<Self>;
}

macro_rules! plain {
    ($($kind:ty),*) => {
        $(impl FieldText for $kind {
            fn write(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        })*
    };
}

plain!(bool, u64, f64);

impl FieldText for Duration {
    fn write(&self) -> String {
        format!("{}ns", self.as_nanos())
    }

    fn read(text: &str) -> Option<Self> {
        text.strip_suffix("ns")?.parse().ok().map(Duration::from_nanos)
    }
}

macro_rules! words {
    ($($kind:ident: $($word:literal = $value:ident),*;)*) => {
        $(impl FieldText for $kind {
            fn write(&self) -> String {
                match self {
                    $($kind::$value => $word,)*
                }
                .to_owned()
            }

            fn read(text: &str) -> Option<Self> {
                match text {
                    $($word => Some($kind::$value),)*
                    _ => None,
                }
            }
        })*
    };
}

words! {
    Compression: "none" = None, "zstd" = Zstd, "lz4" = Lz4;
    DefaultConsistency: "bounded" = Bounded, "strong" = Strong;
}
