//! The scripts that make each write, invalidation and audit one atomic step. Redis 7: `allow-oom` lets what frees memory work when it is full.

use crate::cache::coherence::safeguards::{Safeguard, Safeguards};

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
            Script::Hello => "handshake",
            Script::Audit => "audit",
            Script::Pulse => "ping_primary",
            Script::Write => "write",
            Script::Remove => "remove",
            Script::Invalidate => "invalidate",
            Script::Look => "coverage",
            Script::Touch => "touch",
            Script::Acquire => "acquire",
            Script::Release => "release",
            Script::Claim => "claim_reclaim",
            Script::Reclaim => "reclaim",
            Script::Reclaimed => "finish_reclaim",
            Script::Settle => "settle_failover",
            Script::Members => "live_replicas",
            Script::Leave => "deregister",
            Script::Settings => "settings",
            Script::Namespaces => "namespaces",
        }
    }

    /// Lua. In a Cluster, messages are published to the shard only.
    pub fn text(self, sharded: bool, protections: Safeguards) -> String {
        let publish = if sharded { "SPUBLISH" } else { "PUBLISH" };
        // A test build may take the protection away.
        let restarts = if protections.on(Safeguard::NewEpoch) { "nil" } else { "1" };
        let (flags, body) = match self {
            Script::Hello => script!(" flags=allow-oom", "registry", "handshake"),
            Script::Audit => script!(" flags=allow-oom", "audit"),
            Script::Pulse => script!(" flags=allow-oom", "ping_primary"),
            Script::Write => script!("", "sequenced_step", "selector_invalidations", "entry", "write"),
            Script::Remove => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "remove")
            }
            Script::Invalidate => script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "invalidate"),
            Script::Look => script!(" flags=no-writes", "read_only", "selector_invalidations", "coverage"),
            Script::Touch => script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "touch"),
            Script::Acquire => script!("", "sequenced_step", "selector_invalidations", "entry", "acquire"),
            Script::Release => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "release")
            }
            Script::Claim => script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "claim_reclaim"),
            Script::Reclaim => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "reclaim")
            }
            Script::Reclaimed => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "finish_reclaim")
            }
            Script::Settle => script!(" flags=allow-oom", "settle_failover"),
            Script::Members => script!(" flags=allow-oom", "registry", "live_replicas"),
            Script::Leave => script!(" flags=allow-oom", "deregister"),
            Script::Settings => script!(" flags=allow-oom", "settings"),
            Script::Namespaces => script!(" flags=allow-oom", "sequenced_step", "namespaces"),
        };
        let (before, after) = (include_str!("lua/preamble.lua"), include_str!("lua/repaired.lua"));
        let constants = format!("local PUBLISH, RESTARTS = '{publish}', {restarts}");
        format!("#!lua{flags}\n{constants}\n{before}\nlocal function run()\n{body}\nend\n{after}")
    }
}
