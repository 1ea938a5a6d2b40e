//! The scripts that make each write, invalidation and audit one atomic step. Redis 7: `allow-oom` lets what frees memory work when it is full.

/// One script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// First words on a connection.
    Hello,
    /// Reads all counters and publishes them.
    Audit,
    /// Asks for the time, and whether this is still the primary.
    Pulse,
    /// Writes one entry.
    Write,
    /// Removes entries.
    Remove,
    /// Invalidates a namespace.
    RemoveNamespace,
}

macro_rules! script {
    ($flags:literal, $($part:literal),+) => {
        concat!("#!lua", $flags, "\n", include_str!("lua/preamble.lua"), $(include_str!(concat!("lua/", $part, ".lua"))),+)
    };
}

impl Script {
    /// Every script, in the order of their numbers.
    pub const ALL: [Script; 6] =
        [Script::Hello, Script::Audit, Script::Pulse, Script::Write, Script::Remove, Script::RemoveNamespace];

    /// Lua.
    pub fn text(self) -> &'static str {
        match self {
            Script::Hello => script!(" flags=allow-oom", "hello"),
            Script::Audit => script!(" flags=allow-oom", "audit"),
            Script::Pulse => script!(" flags=allow-oom", "pulse"),
            Script::Write => script!("", "step", "write"),
            Script::Remove => script!(" flags=allow-oom", "step", "remove"),
            Script::RemoveNamespace => script!(" flags=allow-oom", "step", "remove_namespace"),
        }
    }
}
