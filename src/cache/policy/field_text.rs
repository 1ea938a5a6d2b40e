//! Text form of policy fields, in which replicas share them.

use std::time::Duration;

use super::values::{Compression, DefaultConsistency};

/// A value with a text form.
pub trait FieldText: Sized {
    /// Returns the text form.
    fn write(&self) -> String;
    /// Parses the text form. `None` if it is no such value, or one of another release.
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
