//! The Lua scripts that make each write, invalidation and audit one atomic step.
//!
//! Redis 7: `allow-oom` lets scripts that free memory run when it is full.

use crate::cache::coherence::safeguards::{Safeguard, Safeguards};

/// One script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Handshake of a connection: compares partitions, life and positions.
    Handshake,
    /// Reads all counters and publishes them.
    Audit,
    /// Reads the time, if this is still the primary.
    PingPrimary,
    /// Writes entries.
    Write,
    /// Writes plain entries of many callers.
    WriteBatch,
    /// Removes entries, or marks them stale.
    Remove,
    /// Invalidates entries by selectors.
    Invalidate,
    /// Reads how prefixes and tags cover an entry.
    RecordCoverage,
    /// Changes the time to live of an entry.
    Touch,
    /// Requests a lease.
    Acquire,
    /// Releases a lease.
    Release,
    /// Claims the reclaim of a namespace's patterns.
    ClaimReclaim,
    /// Removes or marks entries that patterns matched.
    Reclaim,
    /// Removes reclaimed patterns from the list.
    FinishReclaim,
    /// Settles a failover.
    SettleFailover,
    /// Lists the registered replicas.
    LiveReplicas,
    /// Removes a replica from the registry.
    Deregister,
    /// Changes the run-time settings of all replicas.
    Settings,
    /// Lists the namespaces of a partition.
    Namespaces,
}

macro_rules! script {
    ($flags:literal, $($part:literal),+) => {
        ($flags, concat!($(include_str!(concat!("lua/", $part, ".lua"))),+))
    };
}

impl Script {
    /// All scripts, in the order of their discriminants.
    pub const ALL: [Script; 19] = [
        Script::Handshake,
        Script::Audit,
        Script::PingPrimary,
        Script::Write,
        Script::WriteBatch,
        Script::Remove,
        Script::Invalidate,
        Script::RecordCoverage,
        Script::Touch,
        Script::Acquire,
        Script::Release,
        Script::ClaimReclaim,
        Script::Reclaim,
        Script::FinishReclaim,
        Script::SettleFailover,
        Script::LiveReplicas,
        Script::Deregister,
        Script::Settings,
        Script::Namespaces,
    ];

    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Script::Handshake => "handshake",
            Script::Audit => "audit",
            Script::PingPrimary => "ping_primary",
            Script::Write => "write",
            Script::WriteBatch => "write_batch",
            Script::Remove => "remove",
            Script::Invalidate => "invalidate",
            Script::RecordCoverage => "coverage",
            Script::Touch => "touch",
            Script::Acquire => "acquire",
            Script::Release => "release",
            Script::ClaimReclaim => "claim_reclaim",
            Script::Reclaim => "reclaim",
            Script::FinishReclaim => "finish_reclaim",
            Script::SettleFailover => "settle_failover",
            Script::LiveReplicas => "live_replicas",
            Script::Deregister => "deregister",
            Script::Settings => "settings",
            Script::Namespaces => "namespaces",
        }
    }

    /// The Lua text. In a Cluster, messages are published to the shard only.
    pub fn text(self, sharded: bool, safeguards: Safeguards) -> String {
        let publish = if sharded { "SPUBLISH" } else { "PUBLISH" };
        // A test build may switch the safeguard off.
        let restarts = if safeguards.on(Safeguard::NewEpoch) { "nil" } else { "1" };
        let (flags, body) = match self {
            Script::Handshake => script!(" flags=allow-oom", "registry", "handshake"),
            Script::Audit => script!(" flags=allow-oom", "audit"),
            Script::PingPrimary => script!(" flags=allow-oom", "ping_primary"),
            // A drill may announce a write before it takes effect.
            #[cfg(any(test, feature = "drills"))]
            Script::Write if !safeguards.on(Safeguard::OneStep) => {
                script!("", "sequenced_step", "selector_invalidations", "entry", "announce_first", "write")
            }
            Script::Write => script!("", "sequenced_step", "selector_invalidations", "entry", "write"),
            Script::WriteBatch => {
                return format!("#!lua\nlocal PUBLISH = '{publish}'\n{}", include_str!("lua/write_batch.lua"));
            }
            Script::Remove => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "remove")
            }
            Script::Invalidate => script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "invalidate"),
            Script::RecordCoverage => script!(" flags=no-writes", "read_only", "selector_invalidations", "coverage"),
            Script::Touch => script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "touch"),
            Script::Acquire => script!("", "sequenced_step", "selector_invalidations", "entry", "acquire"),
            Script::Release => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "release")
            }
            Script::ClaimReclaim => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "claim_reclaim")
            }
            Script::Reclaim => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "entry", "reclaim")
            }
            Script::FinishReclaim => {
                script!(" flags=allow-oom", "sequenced_step", "selector_invalidations", "finish_reclaim")
            }
            Script::SettleFailover => script!(" flags=allow-oom", "settle_failover"),
            Script::LiveReplicas => script!(" flags=allow-oom", "registry", "live_replicas"),
            Script::Deregister => script!(" flags=allow-oom", "deregister"),
            Script::Settings => script!(" flags=allow-oom", "settings"),
            Script::Namespaces => script!(" flags=allow-oom", "sequenced_step", "namespaces"),
        };
        let (before, after) = (include_str!("lua/preamble.lua"), include_str!("lua/repaired.lua"));
        let constants = format!("local PUBLISH, RESTARTS = '{publish}', {restarts}");
        format!("#!lua{flags}\n{constants}\n{before}\nlocal function run()\n{body}\nend\n{after}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_has_a_step_of_a_drill_while_the_safeguards_are_on() {
        for script in Script::ALL {
            assert!(!script.text(false, Safeguards::default()).contains("'announce'"), "{}", script.name());
        }
    }

    #[test]
    fn a_write_without_the_one_step_safeguard_announces_first() {
        let text = Script::Write.text(false, Safeguards::without(Safeguard::OneStep));
        assert!(text.contains("ARGV[8] == 'announce'"));
    }
}
