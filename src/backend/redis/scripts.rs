//! The scripts that make each write, invalidation and audit one atomic step. Redis 7: `allow-oom` lets what frees memory work when it is full.

use crate::cache::coherence::protection::{Protection, Protections};

/// One script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// First words on a connection.
    Hello,
    /// Reads all counters and publishes them.
    Audit,
    /// Asks for the time, and whether this is still the primary.
    Pulse,
    /// Writes entries.
    Write,
    /// Removes entries, or marks them stale.
    Remove,
    /// Invalidates what selectors select.
    Invalidate,
    /// Looks how an entry is covered by prefixes and tags.
    Look,
    /// Changes how long an entry lives.
    Touch,
    /// Asks for a lease.
    Acquire,
    /// Gives a lease back.
    Release,
    /// Claims the work at the patterns of a namespace.
    Claim,
    /// Does to entries what was done to what selects them.
    Reclaim,
    /// Takes patterns off the list of those at work.
    Reclaimed,
    /// Settles a takeover.
    Settle,
    /// Lists the replicas registered.
    Members,
    /// Takes a replica out of the registry.
    Leave,
    /// Sets what holds for all replicas.
    Settings,
    /// Lists the namespaces that have anything in a partition.
    Namespaces,
}

macro_rules! script {
    ($flags:literal, $($part:literal),+) => {
        ($flags, concat!($(include_str!(concat!("lua/", $part, ".lua"))),+))
    };
}

impl Script {
    /// Every script, in the order of their numbers.
    pub const ALL: [Script; 18] = [
        Script::Hello,
        Script::Audit,
        Script::Pulse,
        Script::Write,
        Script::Remove,
        Script::Invalidate,
        Script::Look,
        Script::Touch,
        Script::Acquire,
        Script::Release,
        Script::Claim,
        Script::Reclaim,
        Script::Reclaimed,
        Script::Settle,
        Script::Members,
        Script::Leave,
        Script::Settings,
        Script::Namespaces,
    ];

    /// Its name, as its file has it.
    pub fn name(self) -> &'static str {
        match self {
            Script::Hello => "hello",
            Script::Audit => "audit",
            Script::Pulse => "pulse",
            Script::Write => "write",
            Script::Remove => "remove",
            Script::Invalidate => "invalidate",
            Script::Look => "look",
            Script::Touch => "touch",
            Script::Acquire => "acquire",
            Script::Release => "release",
            Script::Claim => "claim",
            Script::Reclaim => "reclaim",
            Script::Reclaimed => "reclaimed",
            Script::Settle => "settle",
            Script::Members => "members",
            Script::Leave => "leave",
            Script::Settings => "settings",
            Script::Namespaces => "namespaces",
        }
    }

    /// Lua. In a Cluster, messages are published to the shard only.
    pub fn text(self, sharded: bool, protections: Protections) -> String {
        let publish = if sharded { "SPUBLISH" } else { "PUBLISH" };
        // A test build may take the protection away.
        let restarts = if protections.on(Protection::NewEpoch) { "nil" } else { "1" };
        let (flags, body) = match self {
            Script::Hello => script!(" flags=allow-oom", "registry", "hello"),
            Script::Audit => script!(" flags=allow-oom", "audit"),
            Script::Pulse => script!(" flags=allow-oom", "pulse"),
            Script::Write => script!("", "step", "stones", "entry", "write"),
            Script::Remove => script!(" flags=allow-oom", "step", "stones", "entry", "remove"),
            Script::Invalidate => script!(" flags=allow-oom", "step", "stones", "invalidate"),
            Script::Look => script!(" flags=no-writes", "peek", "stones", "look"),
            Script::Touch => script!(" flags=allow-oom", "step", "stones", "entry", "touch"),
            Script::Acquire => script!("", "step", "stones", "entry", "acquire"),
            Script::Release => script!(" flags=allow-oom", "step", "stones", "entry", "release"),
            Script::Claim => script!(" flags=allow-oom", "step", "stones", "claim"),
            Script::Reclaim => script!(" flags=allow-oom", "step", "stones", "entry", "reclaim"),
            Script::Reclaimed => script!(" flags=allow-oom", "step", "stones", "reclaimed"),
            Script::Settle => script!(" flags=allow-oom", "settle"),
            Script::Members => script!(" flags=allow-oom", "registry", "members"),
            Script::Leave => script!(" flags=allow-oom", "leave"),
            Script::Settings => script!(" flags=allow-oom", "settings"),
            Script::Namespaces => script!(" flags=allow-oom", "step", "namespaces"),
        };
        let (before, after) = (include_str!("lua/preamble.lua"), include_str!("lua/repaired.lua"));
        let constants = format!("local PUBLISH, RESTARTS = '{publish}', {restarts}");
        format!("#!lua{flags}\n{constants}\n{before}\nlocal function run()\n{body}\nend\n{after}")
    }
}
