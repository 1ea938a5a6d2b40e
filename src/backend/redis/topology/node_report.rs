//! Reports of sentinels and members of a Cluster, and their parsers.

use std::collections::HashMap;

use crate::backend::redis::config::Address;

/// The report of one server about another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Configuration epoch.
    pub epoch: u64,
    /// Address of the reported server.
    pub address: Address,
    /// True for a primary, false for a replica.
    pub primary: bool,
    /// True if it counts as down.
    pub failed: bool,
    /// Ranges of slots; empty without a Cluster.
    pub slots: Vec<(u16, u16)>,
}

/// The primary that a sentinel names, with its configuration epoch.
pub fn read_primary(about: &HashMap<String, String>, place: &[String]) -> Option<NodeReport> {
    let [host, port] = place else { return None };
    let address = Address::Tcp { host: host.clone(), port: port.parse().ok()? };
    Some(NodeReport {
        epoch: about.get("config-epoch")?.parse().ok()?,
        address,
        primary: true,
        failed: false,
        slots: Vec::new(),
    })
}

/// Reads the answer to CLUSTER NODES: id, address, flags, primary, ping, pong, configuration epoch,
/// link, slots.
pub fn read_members(nodes: &str, asked: &Address, by_name: bool) -> Vec<NodeReport> {
    nodes.lines().filter_map(|line| read_member(line, asked, by_name)).collect()
}

fn read_member(line: &str, asked: &Address, by_name: bool) -> Option<NodeReport> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, place, flags, _, _, _, epoch, _, slots @ ..] = words.as_slice() else { return None };
    let is = |flag| flags.split(',').any(|word| word == flag);
    if is("noaddr") || is("handshake") {
        return None;
    }
    let mut places = place.split(',');
    let (host, port) = places.next()?.split('@').next()?.rsplit_once(':')?;
    // A certificate names a host name.
    let host = places.next().filter(|name| by_name && !name.is_empty()).unwrap_or(host);
    let address = match (host, asked) {
        // The server does not know its own address yet.
        ("" | "?", asked) => asked.clone(),
        (host, _) => Address::Tcp { host: host.to_owned(), port: port.parse().ok()? },
    };
    let range = |word: &&str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    // Moving slots are in brackets.
    let slots = slots.iter().filter_map(range).collect();
    Some(NodeReport { address, primary: is("master"), failed: is("fail"), epoch: epoch.parse().ok()?, slots })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c3 127.0.0.1:30004@31004,hostname4 slave e7d1 0 1426238317239 4 connected
67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922
292f 127.0.0.1:30003@31003 master,fail - 0 1426238318243 3 connected 10923-16383
e7d1 :30001@31001 myself,master - 0 0 1 connected 0-5459 5460 [93-<-292f]
dead :0@0 master,noaddr - 0 0 1 disconnected
";

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn the_members_of_a_cluster_are_read() {
        let members = read_members(NODES, &tcp("seed", 30001), true);
        let seen: Vec<_> = members.iter().map(|m| (m.address.to_string(), m.primary, m.slots.clone())).collect();
        assert_eq!(
            seen,
            [
                ("hostname4:30004".to_owned(), false, vec![]),
                ("127.0.0.1:30002".to_owned(), true, vec![(5461, 10922)]),
                ("127.0.0.1:30003".to_owned(), true, vec![(10923, 16383)]),
                ("seed:30001".to_owned(), true, vec![(0, 5459), (5460, 5460)]),
            ]
        );
        assert_eq!(read_members("garbage\n\n1 2 3", &tcp("seed", 1), true), []);
        assert_eq!(read_members(NODES, &tcp("seed", 1), false)[0].address, tcp("127.0.0.1", 30004));
    }

    #[test]
    fn a_sentinel_names_the_primary() {
        let about = HashMap::from([("config-epoch".to_owned(), "3".to_owned())]);
        let named =
            read_primary(&about, &["::1".to_owned(), "7000".to_owned()]).map(|report| (report.epoch, report.address));
        assert_eq!(named, Some((3, tcp("::1", 7000))));
        assert_eq!(read_primary(&about, &[]), None);
    }
}
