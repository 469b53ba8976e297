//! What a name asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;

use crate::config::Config;
use crate::name::DnsName;

/// What a name and a type ask for. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The zone itself.
    Soa,
    /// The zone's servers.
    Ns,
    /// A transfer of the zone, which there is none of.
    Transfer,
    /// A node of a datacenter.
    Node { name: String, dc: String },
    /// A service of a datacenter.
    Service { name: String, tag: String, dc: String, reach: Reach },
    /// A prepared query, by name or id.
    Query { name: String, dc: String },
    /// An address written as a name; `None` if it has not the length of one. `name` is what stands before
    /// the zone.
    Addr { ip: Option<IpAddr>, name: String },
    /// Who has an address; `None` for other names below `arpa`.
    Ptr(Option<IpAddr>),
    /// Nothing that can be below the zone.
    Unknown,
    /// Not below the zone.
    Foreign,
}

/// How a service is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Itself.
    Direct,
    /// By what speaks for it in the mesh.
    Connect,
    /// By its ingress gateways.
    Ingress,
}

/// Tells what is asked. Never fails: what makes no sense is [`Lookup::Unknown`].
pub fn lookup(config: &Config, name: &DnsName, qtype: Rtype) -> Lookup {
    let labels: Vec<&[u8]> =
        name.iter().map(|label| label.as_slice()).filter(|label| !label.is_empty()).collect();
    if labels.last().is_some_and(|last| last.eq_ignore_ascii_case(b"arpa")) {
        return Lookup::Ptr(reverse_address(&labels));
    }
    let Some(labels) = below(config, &labels) else { return Lookup::Foreign };
    match qtype {
        Rtype::SOA => return Lookup::Soa,
        Rtype::NS => return Lookup::Ns,
        Rtype::AXFR => return Lookup::Transfer,
        _ => {}
    }
    inside(config, labels, qtype).unwrap_or(Lookup::Unknown)
}

/// The labels before the zone's; the longer of the two zones wins.
fn below<'a, 'b>(config: &Config, labels: &'a [&'b [u8]]) -> Option<&'a [&'b [u8]]> {
    let without = |zone: &DnsName| {
        let count = zone.label_count() - 1;
        let start = labels.len().checked_sub(count)?;
        let same = labels[start..]
            .iter()
            .zip(zone.iter())
            .all(|(label, of_zone)| label.eq_ignore_ascii_case(of_zone.as_slice()));
        same.then(|| &labels[..start])
    };
    let main = without(&config.domain);
    let alt = config.alt_domain.as_ref().and_then(without);
    match (main, alt) {
        (Some(main), Some(alt)) => Some(if alt.len() < main.len() { alt } else { main }),
        (main, alt) => main.or(alt),
    }
}

fn inside(config: &Config, labels: &[&[u8]], qtype: Rtype) -> Option<Lookup> {
    const KINDS: [&str; 6] = ["service", "connect", "ingress", "node", "query", "addr"];
    let kind_of = |label: &[u8]| KINDS.iter().find(|kind| label.eq_ignore_ascii_case(kind.as_bytes()));
    // The kind is the last label that can be one. RFC 2782 names may do without.
    let (at, kind) = labels.iter().enumerate().rev().find_map(|(at, label)| match kind_of(label) {
        Some(kind) => Some((at, *kind)),
        None => (qtype == Rtype::SRV && label.starts_with(b"_")).then_some((at, "")),
    })?;
    let (before, after) = match kind {
        "" => (&labels[..=at], &labels[at + 1..]),
        _ => (&labels[..at], &labels[at + 1..]),
    };
    if kind == "addr" {
        // Whatever datacenter is named: the address is the same everywhere.
        let [label] = before else { return None };
        return Some(Lookup::Addr { ip: hex_address(label)?, name: joined(labels) });
    }
    let dc = match after {
        [] => config.datacenter.clone(),
        [dc] => text(dc),
        _ => return None,
    };
    let (last, first) = before.split_last()?;
    Some(match kind {
        "node" => Lookup::Node { name: joined(before), dc },
        "query" => Lookup::Query { name: joined(before), dc },
        "connect" | "ingress" => {
            let reach = if kind == "connect" { Reach::Connect } else { Reach::Ingress };
            Lookup::Service { name: text(last), tag: String::new(), dc, reach }
        }
        _ => {
            let (name, tag) = match (first, *last) {
                ([service], tag) if service.starts_with(b"_") && tag.starts_with(b"_") => {
                    let tag = text(&tag[1..]);
                    (text(&service[1..]), if tag == "tcp" { String::new() } else { tag })
                }
                // A tag may have dots.
                (tag, service) => (text(service), joined(tag)),
            };
            Lookup::Service { name, tag, dc, reach: Reach::Direct }
        }
    })
}

fn text(label: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(label).into_owned();
    text.make_ascii_lowercase();
    text
}

fn joined(labels: &[&[u8]]) -> String {
    let mut all = String::with_capacity(labels.iter().map(|label| label.len() + 1).sum());
    for (n, label) in labels.iter().enumerate() {
        if n > 0 {
            all.push('.');
        }
        all.push_str(&String::from_utf8_lossy(label));
    }
    all.make_ascii_lowercase();
    all
}

/// 8 hexadecimal digits are an IPv4 address, 32 an IPv6 address; `Some(None)` is what has another
/// length. Names of an address's length that are none do not exist, an odd digit at the end included.
fn hex_address(label: &[u8]) -> Option<Option<IpAddr>> {
    let digits =
        || std::str::from_utf8(label).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
    match label.len() {
        8 => u32::from_str_radix(digits()?, 16).ok().map(|bits| Some(Ipv4Addr::from(bits).into())),
        32 => u128::from_str_radix(digits()?, 16).ok().map(|bits| Some(Ipv6Addr::from(bits).into())),
        9 | 33 => None,
        _ => Some(None),
    }
}

/// The address of a name below `in-addr.arpa` (RFC 1035 section 3.5) or `ip6.arpa` (RFC 3596).
fn reverse_address(labels: &[&[u8]]) -> Option<IpAddr> {
    let (digits, zone) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
    if zone[0].eq_ignore_ascii_case(b"in-addr") && digits.len() == 4 {
        let mut octets = [0_u8; 4];
        for (octet, label) in octets.iter_mut().zip(digits.iter().rev()) {
            *octet = std::str::from_utf8(label).ok()?.parse().ok()?;
        }
        return Some(Ipv4Addr::from(octets).into());
    }
    if zone[0].eq_ignore_ascii_case(b"ip6") && digits.len() == 32 {
        let mut bits = 0_u128;
        for label in digits.iter().rev() {
            let [digit] = label else { return None };
            bits = bits << 4 | u128::from((*digit as char).to_digit(16)?);
        }
        return Some(Ipv6Addr::from(bits).into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::parse_name;
    use crate::tests::config;

    fn ask(name: &str, qtype: Rtype) -> Lookup {
        let config = Config {
            domain: parse_name("consul").unwrap(),
            alt_domain: Some(parse_name("alt.corp").unwrap()),
            ..config()
        };
        lookup(&config, &parse_name(name).unwrap(), qtype)
    }

    fn service(name: &str, tag: &str, dc: &str) -> Lookup {
        Lookup::Service { name: name.into(), tag: tag.into(), dc: dc.into(), reach: Reach::Direct }
    }

    #[test]
    fn services() {
        for (asked, want) in [
            ("web.service.consul", service("web", "", "dc1")),
            ("WEB.Service.CONSUL", service("web", "", "dc1")),
            ("web.service.dc2.consul", service("web", "", "dc2")),
            ("blue.web.service.consul", service("web", "blue", "dc1")),
            ("v1.2.web.service.dc2.consul", service("web", "v1.2", "dc2")),
            ("_web._blue.service.consul", service("web", "blue", "dc1")),
            ("_web._tcp.service.dc2.consul", service("web", "", "dc2")),
            ("_web._TCP.service.consul", service("web", "", "dc1")),
            ("web.service.alt.corp", service("web", "", "dc1")),
        ] {
            assert_eq!(ask(asked, Rtype::A), want, "{asked}");
        }
        assert_eq!(ask("_web._blue.consul", Rtype::SRV), service("web", "blue", "dc1"));
        assert_eq!(ask("_web._blue.dc2.consul", Rtype::SRV), service("web", "blue", "dc2"));
        assert_eq!(ask("_web._blue.consul", Rtype::A), Lookup::Unknown);
        let reached =
            |reach| Lookup::Service { name: "web".into(), tag: String::new(), dc: "dc1".into(), reach };
        assert_eq!(ask("web.connect.consul", Rtype::SRV), reached(Reach::Connect));
        assert_eq!(ask("web.ingress.consul", Rtype::SRV), reached(Reach::Ingress));
    }

    #[test]
    fn nodes_and_queries() {
        let node = |name: &str, dc: &str| Lookup::Node { name: name.into(), dc: dc.into() };
        assert_eq!(ask("n1.node.consul", Rtype::A), node("n1", "dc1"));
        assert_eq!(ask("my.Host.node.dc2.consul", Rtype::A), node("my.host", "dc2"));
        // The last kind counts.
        assert_eq!(ask("web.service.node.consul", Rtype::A), node("web.service", "dc1"));
        let query = Lookup::Query { name: "all.web".into(), dc: "dc1".into() };
        assert_eq!(ask("all.web.query.consul", Rtype::A), query);
    }

    #[test]
    fn addresses() {
        let addr =
            |text: &str, name: &str| Lookup::Addr { ip: Some(text.parse().unwrap()), name: name.into() };
        assert_eq!(ask("0a000001.addr.dc1.consul", Rtype::A), addr("10.0.0.1", "0a000001.addr.dc1"));
        assert_eq!(ask("0A000001.ADDR.a.b.alt.corp", Rtype::A), addr("10.0.0.1", "0a000001.addr.a.b"));
        let six = "20010db800000000000000000000cafe.addr";
        assert_eq!(ask(&format!("{six}.consul"), Rtype::A), addr("2001:db8::cafe", six));
        for other in ["zzzz.addr", "0a0000.addr", "0a00000102.addr"] {
            let nothing = Lookup::Addr { ip: None, name: other.into() };
            assert_eq!(ask(&format!("{other}.consul"), Rtype::A), nothing, "{other}");
        }
        for wrong in ["zzzzzzzz.addr.consul", "+a000001.addr.consul", "0a0000011.addr.consul"] {
            assert_eq!(ask(wrong, Rtype::A), Lookup::Unknown, "{wrong}");
        }
        let ptr = |text: &str| Lookup::Ptr(Some(text.parse().unwrap()));
        assert_eq!(ask("1.0.0.10.in-addr.arpa", Rtype::PTR), ptr("10.0.0.1"));
        let six = format!("e.f.a.c.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(20));
        assert_eq!(ask(&six, Rtype::PTR), ptr("2001:db8::cafe"));
        for wrong in ["arpa", "1.in-addr.arpa", "300.0.0.10.in-addr.arpa", "x.ip6.arpa"] {
            assert_eq!(ask(wrong, Rtype::PTR), Lookup::Ptr(None), "{wrong}");
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(ask("consul", Rtype::SOA), Lookup::Soa);
        assert_eq!(ask("dc2.consul", Rtype::SOA), Lookup::Soa);
        assert_eq!(ask("alt.corp", Rtype::NS), Lookup::Ns);
        assert_eq!(ask("consul", Rtype::AXFR), Lookup::Transfer);
        for unknown in
            ["consul", "n1.consul", "service.consul", "web.service.a.b.consul", "a.0a000001.addr.consul"]
        {
            assert_eq!(ask(unknown, Rtype::A), Lookup::Unknown, "{unknown}");
        }
        for foreign in [".", "corp", "example.com", "consul.example.com", "notconsul"] {
            assert_eq!(ask(foreign, Rtype::A), Lookup::Foreign, "{foreign}");
        }
    }
}
