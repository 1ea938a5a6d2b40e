//! Sums and differences of Stats: which numbers are counters and which are gauges.
//!
//! A reset subtracts counters only. A report of the fleet adds both, but not the numbers that every
//! replica reports of the same Redis.

use crate::pb;

/// Numbers that can be added over replicas and counted from a baseline.
pub trait Additive {
    /// Adds the numbers of another replica.
    fn add(&mut self, other: &Self);
    /// Subtracts the counters of a baseline.
    fn subtract(&mut self, before: &Self);
}

macro_rules! counts {
    ($($message:ident: counts [$($count:ident)*] now [$($gauge:ident)*] $(same [$($same:ident)*])?;)*) => {
        $(impl Additive for pb::$message {
            fn add(&mut self, other: &Self) {
                $(self.$count = self.$count.saturating_add(other.$count);)*
                $(self.$gauge = self.$gauge.saturating_add(other.$gauge);)*
                $($(self.$same = self.$same.or(other.$same);)*)?
            }

            fn subtract(&mut self, before: &Self) {
                $(self.$count = self.$count.saturating_sub(before.$count);)*
            }
        })*

        /// Every number that is handled, by message.
        #[cfg(test)]
        const KNOWN: &[(&str, &[&str])] =
            &[$((stringify!($message), &[$(stringify!($count),)* $(stringify!($gauge),)* $($(stringify!($same),)*)?])),*];
    };
}

counts! {
    NamespaceStats:
        counts [
            l1_hits l2_hits stale_hits negative_hits misses degraded coalesced sets_stored sets_condition_failed write_errors
            invalidations sets_void touches throttled over_quota
        ]
        now [entries bytes]
        same [redis_keys redis_bytes];
    L1Stats: counts [evicted_size evicted_expired removed replaced rejected] now [entries bytes max_bytes];
    CoherenceStats:
        counts [
            messages_applied messages_own gaps undecodable lagged bumps audits_sent audits_echoed audits_failed disconnects
            fills_fenced takeovers repaired
        ]
        now [];
    LeaseStats: counts [granted granted_alone filled voided released waited served] now [waiting];
    WatchStats: counts [changes discontinuities] now [watchers];
    ReplicaStats: counts [shed] now [in_flight connections];
    // Redis counts these itself; they are not counters of the replica.
    RedisStats:
        counts [reconnects commands errors undecodable foreign_messages]
        now [used_memory used_memory_peak maxmemory keys evicted_keys expired_keys commands_processed]
        same [namespace_sample_keys];
    SelfAuditStats: counts [sampled dropped checked gone failed violations] now [];
}

impl<T: Additive + Clone> Additive for Option<T> {
    fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Some(mine), Some(other)) => mine.add(other),
            (None, Some(other)) => *self = Some(other.clone()),
            (_, None) => {}
        }
    }

    fn subtract(&mut self, before: &Self) {
        if let (Some(now), Some(before)) = (self, before) {
            now.subtract(before);
        }
    }
}

/// Matches namespaces by name. An unknown one is inserted.
impl Additive for Vec<pb::NamespaceStats> {
    fn add(&mut self, other: &Self) {
        for namespace in other {
            match self.binary_search_by(|mine| mine.namespace.cmp(&namespace.namespace)) {
                Ok(index) => self[index].add(namespace),
                Err(index) => self.insert(index, namespace.clone()),
            }
        }
    }

    fn subtract(&mut self, before: &Self) {
        for namespace in self {
            if let Ok(index) = before.binary_search_by(|before| before.namespace.cmp(&namespace.namespace)) {
                namespace.subtract(&before[index]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use prost_types::field_descriptor_proto::Type;

    use super::*;

    #[test]
    fn every_number_of_the_contract_is_a_counter_or_a_gauge() {
        let set = FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET).expect("a descriptor set");
        for (message, known) in KNOWN {
            let descriptor = set.file.iter().flat_map(|file| &file.message_type).find(|found| found.name() == *message);
            let numbers =
                descriptor.expect("of the contract").field.iter().filter(|field| field.r#type() == Type::Uint64);
            for number in numbers {
                assert!(known.contains(&number.name()), "{message}.{}", number.name());
            }
        }
    }

    #[test]
    fn namespaces_are_summed_and_subtracted_by_name() {
        let namespace = |name: &str, misses, entries| pb::NamespaceStats {
            namespace: name.to_owned(),
            misses,
            entries,
            ..Default::default()
        };
        let mut sum = vec![namespace("b", 1, 10)];
        sum.add(&vec![namespace("a", 2, 20), namespace("b", 3, 30)]);
        assert_eq!(sum, [namespace("a", 2, 20), namespace("b", 4, 40)]);
        sum.subtract(&vec![namespace("b", 3, 30)]);
        assert_eq!(sum, [namespace("a", 2, 20), namespace("b", 1, 40)]);
    }

    #[test]
    fn numbers_of_the_shared_redis_are_not_summed() {
        let of = |redis_keys, redis_bytes| pb::NamespaceStats { redis_keys, redis_bytes, ..Default::default() };
        let mut sum = of(Some(7), None);
        sum.add(&of(Some(6), Some(600)));
        assert_eq!(sum, of(Some(7), Some(600)));
        sum.subtract(&of(Some(7), Some(600)));
        assert_eq!(sum, of(Some(7), Some(600)));
    }
}
