//! Tags to meaning and back. All tag values are text.

use crate::serf::member::{Member, MemberStatus};
use crate::serf::tags::Tags;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Version of the agent protocol spoken, its minimum and its maximum.
pub const PROTOCOL_VERSION: (u8, u8, u8) = (2, 2, 3);
const ROLE_SERVER: &str = "consul";
const ROLE_CLIENT: &str = "node";

/// What a member says about its ACL system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AclMode {
    /// Off.
    Disabled,
    /// On.
    Enabled,
    /// On, in the form of old.
    Legacy,
    /// Not said.
    Unknown,
}

impl AclMode {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("0") => AclMode::Disabled,
            Some("1") => AclMode::Enabled,
            Some("2") => AclMode::Legacy,
            _ => AclMode::Unknown,
        }
    }

    /// Value of the tag; an unknown mode has none.
    pub fn as_tag(self) -> Option<&'static str> {
        match self {
            AclMode::Disabled => Some("0"),
            AclMode::Enabled => Some("1"),
            AclMode::Legacy => Some("2"),
            AclMode::Unknown => None,
        }
    }
}

/// A server of some datacenter, from its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerParts {
    /// Name of the member; in the WAN pool with the datacenter behind a dot.
    pub name: Arc<str>,
    /// Node id; empty when the member says none.
    pub id: String,
    /// Datacenter.
    pub datacenter: String,
    /// Network segment, empty in the open edition.
    pub segment: String,
    /// Address of the member.
    pub addr: IpAddr,
    /// Port of the server RPC.
    pub port: u16,
    /// Port in the WAN pool, if it takes part there (only told in the LAN pool).
    pub wan_join_port: Option<u16>,
    /// May elect itself.
    pub bootstrap: bool,
    /// Number of servers that a first election waits for; 0 = none given.
    pub expect: u32,
    /// Agent version, the numbers only.
    pub build: (u64, u64, u64),
    /// Version of the agent protocol.
    pub version: u32,
    /// Version of the Raft protocol.
    pub raft_version: u32,
    /// Flags of features (tags beginning with `ft_`), without that prefix.
    pub features: BTreeMap<String, i64>,
    /// Does not vote.
    pub read_replica: bool,
    /// Whether its RPC wants TLS.
    pub use_tls: bool,
    /// State of its ACL system.
    pub acls: AclMode,
    /// What is believed of the member.
    pub status: MemberStatus,
}

impl ServerParts {
    /// `None` when the member is not a server or does not say what a server must say.
    pub fn from_member(m: &Member) -> Option<Self> {
        if m.tag("role") != Some(ROLE_SERVER) {
            return None;
        }
        let wan_join_port = match m.tag("wan_join_port") {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        let expect = match m.tag("expect") {
            Some(n) => n.parse().ok()?,
            None => 0,
        };
        let raft_version = match m.tag("raft_vsn") {
            Some(n) => n.parse().ok()?,
            None => 0,
        };
        let mut features = BTreeMap::new();
        for (name, value) in m.tags.iter() {
            if let Some(feature) = name.strip_prefix("ft_") {
                features.insert(feature.to_owned(), value.parse().ok()?);
            }
        }
        Some(ServerParts {
            name: m.name.clone(),
            id: m.tag("id").unwrap_or_default().to_owned(),
            datacenter: m.tag("dc").unwrap_or_default().to_owned(),
            segment: m.tag("segment").unwrap_or_default().to_owned(),
            addr: m.addr,
            port: m.tag("port")?.parse().ok()?,
            wan_join_port,
            bootstrap: m.tag("bootstrap").is_some(),
            expect,
            build: build_version(m.tag("build")?)?,
            version: m.tag("vsn")?.parse().ok()?,
            raft_version,
            features,
            read_replica: m.tag("read_replica").is_some() || m.tag("nonvoter").is_some(),
            use_tls: m.tag("use_tls").is_some(),
            acls: AclMode::parse(m.tag("acls")),
            status: m.status,
        })
    }

    /// Where its RPC listens.
    pub fn rpc_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr, self.port)
    }

    /// Agent version as text.
    pub fn build_text(&self) -> String {
        let (major, minor, patch) = self.build;
        format!("{major}.{minor}.{patch}")
    }

    /// Name without the datacenter behind it.
    pub fn short_name(&self) -> &str {
        self.name
            .strip_suffix(self.datacenter.as_str())
            .and_then(|n| n.strip_suffix('.'))
            .unwrap_or(&self.name)
    }
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberParts {
    /// A server.
    Server(Box<ServerParts>),
    /// A client agent.
    Client {
        /// Datacenter.
        datacenter: String,
        /// Network segment.
        segment: String,
    },
    /// Neither: it says too little.
    Other,
}

impl MemberParts {
    /// From the tags.
    pub fn from_member(m: &Member) -> Self {
        if let Some(server) = ServerParts::from_member(m) {
            return MemberParts::Server(Box::new(server));
        }
        if m.tag("role") == Some(ROLE_CLIENT) {
            return MemberParts::Client {
                datacenter: m.tag("dc").unwrap_or_default().to_owned(),
                segment: m.tag("segment").unwrap_or_default().to_owned(),
            };
        }
        MemberParts::Other
    }

    /// Datacenter and segment of a server or client.
    pub fn place(&self) -> Option<(&str, &str)> {
        match self {
            MemberParts::Server(s) => Some((&s.datacenter, &s.segment)),
            MemberParts::Client { datacenter, segment } => Some((datacenter, segment)),
            MemberParts::Other => None,
        }
    }
}

/// The first `number.number.number` in a build tag.
pub fn build_version(build: &str) -> Option<(u64, u64, u64)> {
    let bytes = build.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let rest = &build[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let mut numbers = rest[..end].split('.');
        if let (Some(a), Some(b), Some(c)) = (numbers.next(), numbers.next(), numbers.next())
            && let (Ok(a), Ok(b), Ok(c)) = (a.parse(), b.parse(), c.parse())
        {
            return Some((a, b, c));
        }
        // From the next number on: `1.x.2.3.4` is 2.3.4.
        at += rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(end).max(1);
    }
    None
}

/// The tags of a server that only servers have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTags {
    /// Port of the server RPC.
    pub port: u16,
    /// Port in the WAN pool; `None` = not in it. Told only in the LAN pool.
    pub wan_join_port: Option<u16>,
    /// May elect itself, also set for an expectation of one.
    pub bootstrap: bool,
    /// Number of servers that the first election waits for.
    pub expect: u32,
    /// Version of the Raft protocol.
    pub raft_version: u32,
    /// Does not vote.
    pub read_replica: bool,
    /// Whether RPC wants TLS.
    pub use_tls: bool,
}

/// What one of our own agents says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTags {
    /// Node id (UUID).
    pub id: String,
    /// Datacenter.
    pub datacenter: String,
    /// Network segment.
    pub segment: String,
    /// Version and prerelease that peers gate on, for instance `1.9.8`.
    pub version: String,
    /// Revision; its first eight characters are told.
    pub revision: String,
    /// State of the ACL system.
    pub acls: AclMode,
    /// How long the others are to remember a failed client, as configured (`72h`).
    pub reconnect_timeout: Option<String>,
    /// For servers.
    pub server: Option<ServerTags>,
}

impl AgentTags {
    fn common(&self) -> Tags {
        let (vsn, min, max) = PROTOCOL_VERSION;
        let revision: String = self.revision.chars().take(8).collect();
        let mut tags = Tags::new();
        let mut set = |name: &str, value: String| {
            tags.insert(name.to_owned(), value);
        };
        set("dc", self.datacenter.clone());
        set("segment", self.segment.clone());
        set("id", self.id.clone());
        set("vsn", vsn.to_string());
        set("vsn_min", min.to_string());
        set("vsn_max", max.to_string());
        set("build", format!("{}:{revision}", self.version));
        if let Some(mode) = self.acls.as_tag() {
            set("acls", mode.to_owned());
        }
        match &self.server {
            None => {
                set("role", ROLE_CLIENT.to_owned());
                if let Some(text) = &self.reconnect_timeout {
                    set("rc_tm", text.clone());
                }
            }
            Some(s) => {
                set("role", ROLE_SERVER.to_owned());
                set("port", s.port.to_string());
                set("raft_vsn", s.raft_version.to_string());
                set("ft_fs", "1".to_owned());
                set("ft_si", "1".to_owned());
                if s.bootstrap || s.expect == 1 {
                    set("bootstrap", "1".to_owned());
                }
                if s.expect > 1 {
                    set("expect", s.expect.to_string());
                }
                if s.read_replica {
                    set("nonvoter", "1".to_owned());
                    set("read_replica", "1".to_owned());
                }
                if s.use_tls {
                    set("use_tls", "1".to_owned());
                }
            }
        }
        tags
    }

    /// For the LAN pool.
    pub fn lan(&self) -> Tags {
        let mut tags = self.common();
        if let Some(port) = self.server.as_ref().and_then(|s| s.wan_join_port) {
            tags.insert("wan_join_port".to_owned(), port.to_string());
        }
        tags
    }

    /// For the WAN pool.
    pub fn wan(&self) -> Tags {
        self.common()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swim::{Tick, VSN_CONSUL};

    fn member(tags: Tags) -> Member {
        Member {
            name: "s1.dc1".into(),
            addr: IpAddr::from([127, 22, 0, 1]),
            port: 8301,
            tags: Arc::new(tags),
            status: MemberStatus::Alive,
            status_time: Tick::ZERO,
            vsn: VSN_CONSUL,
        }
    }

    fn server() -> AgentTags {
        AgentTags {
            id: "5a1a75a1-0177-73ba-85a5-133a2a3deda7".into(),
            datacenter: "dc1".into(),
            segment: String::new(),
            version: "1.9.8".into(),
            revision: "0123456789".into(),
            acls: AclMode::Disabled,
            reconnect_timeout: None,
            server: Some(ServerTags {
                port: 8300,
                wan_join_port: Some(8302),
                bootstrap: false,
                expect: 3,
                raft_version: 3,
                read_replica: false,
                use_tls: true,
            }),
        }
    }

    #[test]
    fn own_tags_are_understood() {
        let tags = server().lan();
        assert_eq!(tags["build"], "1.9.8:01234567");
        let parts = ServerParts::from_member(&member(tags)).unwrap();
        assert_eq!((parts.port, parts.wan_join_port), (8300, Some(8302)));
        assert_eq!((parts.expect, parts.bootstrap, parts.use_tls), (3, false, true));
        assert_eq!(parts.build, (1, 9, 8));
        assert_eq!(parts.features["fs"], 1);
        assert_eq!(parts.short_name(), "s1");
        assert!(!server().wan().contains_key("wan_join_port"));
        let mut client = server();
        client.server = None;
        assert_eq!(MemberParts::from_member(&member(client.lan())).place(), Some(("dc1", "")));
    }

    #[test]
    fn what_does_not_parse_is_no_server() {
        for (name, value) in [
            ("port", "x"),
            ("build", "dev"),
            ("vsn", ""),
            ("expect", "many"),
            ("raft_vsn", "x"),
            ("wan_join_port", "70000"),
            ("ft_x", "yes"),
        ] {
            let mut tags = server().lan();
            tags.insert(name.into(), value.into());
            assert!(ServerParts::from_member(&member(tags)).is_none(), "{name}");
        }
    }

    #[test]
    fn versions_are_found() {
        for (text, version) in [
            ("1.9.8:", Some((1, 9, 8))),
            ("v1.10.0+ent:abc", Some((1, 10, 0))),
            ("1.x.2.3.4", Some((2, 3, 4))),
            ("1.9", None),
            ("", None),
            ("\u{e9}1.2.3", Some((1, 2, 3))),
        ] {
            assert_eq!(build_version(text), version, "{text}");
        }
    }
}
