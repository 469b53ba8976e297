//! Who is refused.

use model::duration::parse_go;

use super::parts::{MemberParts, ServerParts, build_version};
use crate::serf::config::Policy;
use crate::serf::member::{Member, MemberStatus};
use std::collections::HashMap;
use std::time::Duration;

/// Rules of the LAN pool: one datacenter, one segment, every node id once.
#[derive(Debug, Clone, Default)]
pub struct LanPolicy {
    /// Our datacenter.
    pub datacenter: String,
    /// Our segment.
    pub segment: String,
    /// Our name.
    pub node_name: String,
    /// Our node id.
    pub node_id: String,
}

/// Node ids are unique from this version on.
const UNIQUE_IDS: (u64, u64, u64) = (0, 8, 5);

impl Policy for LanPolicy {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        let mut ids: HashMap<&str, &str> = HashMap::new();
        for m in members {
            let name = &*m.name;
            let id = m.tag("id").unwrap_or_default();
            if !id.is_empty() && m.status != MemberStatus::Left {
                if id == self.node_id && name != self.node_name {
                    return Err(format!(
                        "Member '{name}' has conflicting node ID '{id}' with this agent's ID"
                    ));
                }
                let unique = m.tag("build").and_then(build_version) >= Some(UNIQUE_IDS);
                if unique {
                    if let Some(other) = ids.get(id) {
                        return Err(format!(
                            "Member '{name}' has conflicting node ID '{id}' with member '{other}'"
                        ));
                    }
                    ids.insert(id, name);
                }
            }
            if let Some((dc, segment)) = MemberParts::from_member(m).place() {
                if dc != self.datacenter {
                    return Err(format!("Member '{name}' part of wrong datacenter '{dc}'"));
                }
                if segment != self.segment {
                    return Err(format!(
                        "Member '{name}' part of wrong segment '{segment}' (expected '{}')",
                        self.segment
                    ));
                }
            }
        }
        Ok(())
    }

    fn remember_for(&self, member: &Member) -> Option<Duration> {
        let told = parse_go(member.tag("rc_tm")?).ok()?.to_std();
        (!told.is_zero()).then_some(told)
    }
}

/// Rules of the WAN pool: servers only.
#[derive(Debug, Clone, Default)]
pub struct WanPolicy {
    /// Only servers of this datacenter, because federation is off.
    pub only_datacenter: Option<String>,
}

impl Policy for WanPolicy {
    fn admit(&self, members: &[Member]) -> Result<(), String> {
        for m in members {
            let Some(server) = ServerParts::from_member(m) else {
                return Err(format!("Member '{}' is not a server", m.name));
            };
            if let Some(ours) = &self.only_datacenter
                && server.datacenter != *ours
            {
                return Err(format!(
                    "Member '{}' part of wrong datacenter '{}'; WAN federation is disabled",
                    m.name, server.datacenter
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::tags::Tags;
    use crate::swim::{Tick, VSN_CONSUL};
    use std::net::IpAddr;
    use std::sync::Arc;

    fn member(name: &str, tags: &[(&str, &str)]) -> Member {
        let tags: Tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Member {
            name: name.into(),
            addr: IpAddr::from([127, 22, 0, 2]),
            port: 8301,
            tags: Arc::new(tags),
            status: MemberStatus::Alive,
            status_time: Tick::ZERO,
            vsn: VSN_CONSUL,
        }
    }

    fn client(name: &str, id: &str, dc: &str, segment: &str) -> Member {
        let tags = [
            ("role", "node"),
            ("dc", dc),
            ("segment", segment),
            ("id", id),
            ("build", "1.9.8:"),
            ("rc_tm", "2h"),
        ];
        member(name, &tags)
    }

    fn lan() -> LanPolicy {
        LanPolicy {
            datacenter: "dc1".into(),
            segment: String::new(),
            node_name: "me".into(),
            node_id: "id-me".into(),
        }
    }

    #[test]
    fn lan_refusals() {
        let good = client("a", "id-a", "dc1", "");
        assert_eq!(lan().admit(std::slice::from_ref(&good)), Ok(()));
        for (members, text) in [
            (
                vec![client("b", "id-me", "dc1", "")],
                "Member 'b' has conflicting node ID 'id-me' with this agent's ID",
            ),
            (
                vec![good.clone(), client("b", "id-a", "dc1", "")],
                "Member 'b' has conflicting node ID 'id-a' with member 'a'",
            ),
            (vec![client("b", "id-b", "dc2", "")], "Member 'b' part of wrong datacenter 'dc2'"),
            (vec![client("b", "id-b", "dc1", "x")], "Member 'b' part of wrong segment 'x' (expected '')"),
        ] {
            assert_eq!(lan().admit(&members), Err(text.to_owned()));
        }
        let mut left = client("b", "id-a", "dc1", "");
        left.status = MemberStatus::Left;
        assert_eq!(lan().admit(&[good.clone(), left]), Ok(()));
        // Without tags a member is taken in; it only never counts.
        assert_eq!(lan().admit(&[member("plain", &[])]), Ok(()));
        assert_eq!(lan().remember_for(&good), Some(Duration::from_secs(7200)));
        assert_eq!(lan().remember_for(&member("x", &[("rc_tm", "0")])), None);
    }

    #[test]
    fn wan_refusals() {
        let server = member(
            "s1.dc2",
            &[("role", "consul"), ("dc", "dc2"), ("port", "8300"), ("vsn", "2"), ("build", "1.9.8:")],
        );
        assert_eq!(WanPolicy::default().admit(std::slice::from_ref(&server)), Ok(()));
        assert_eq!(
            WanPolicy::default().admit(&[client("c", "i", "dc1", "")]),
            Err("Member 'c' is not a server".to_owned())
        );
        let alone = WanPolicy { only_datacenter: Some("dc1".into()) };
        assert_eq!(
            alone.admit(&[server]),
            Err("Member 's1.dc2' part of wrong datacenter 'dc2'; WAN federation is disabled".to_owned())
        );
    }
}
