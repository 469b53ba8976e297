//! Address templates: `{{ GetPrivateIP }}` and its kin, evaluated against the
//! machine's interfaces.
//!
//! The understood part of the language: text outside of `{{ }}` stays; inside
//! stands a pipeline of calls, `source | filter ... | filter ...`, arguments
//! being quoted strings or numbers.
//!
//! * sources: `GetAllInterfaces`, `GetDefaultInterfaces`, `GetPrivateInterfaces`,
//!   `GetPublicInterfaces`, `GetPrivateIP(s)`, `GetPublicIP(s)`,
//!   `GetInterfaceIP(s) "name"` (a regular expression);
//! * filters: `include`/`exclude "what" "value"` with what being `name`
//!   (regular expression), `type`, `flags`, `rfc` (`1918`, `6890`), `network`,
//!   `address` or `size`; `sort "key,..."` (`address`, `default`, `name`,
//!   `private`, `size`, `type`; `-` before a key reverses), `unique "attr"`,
//!   `limit n`, `offset n`;
//! * ends: `attr "address"` (of the first), `join "address" " "` (of all).
//!   Attributes: `address`, `name`, `type`, `flags`, `network`, `netmask`,
//!   `mask_bits`, `string`.
//!
//! Variables, conditions and arithmetic are refused with an error.

use std::net::IpAddr;

use regex::Regex;

use super::interfaces::{Cidr, InterfaceAddr, is_private};

/// Replaces every `{{ }}` of a text. Blanks around the result are cut.
pub(crate) fn expand(text: &str, interfaces: &[InterfaceAddr]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find("}}").ok_or("unclosed action")?;
        out.push_str(&evaluate(&inner[..end], interfaces)?);
        rest = &inner[end + 2..];
    }
    out.push_str(rest);
    Ok(out.trim().to_owned())
}

enum Flow {
    Addrs(Vec<InterfaceAddr>),
    Text(String),
}

fn evaluate(pipeline: &str, interfaces: &[InterfaceAddr]) -> Result<String, String> {
    let calls = parse(pipeline)?;
    let (first, filters) = calls.split_first().ok_or("missing value for command")?;
    let mut flow = source(first, interfaces)?;
    for call in filters {
        flow = match flow {
            Flow::Addrs(addrs) => filter(call, addrs)?,
            Flow::Text(_) => return Err(format!("{:?} cannot be applied to text", call.name)),
        };
    }
    match flow {
        Flow::Text(text) => Ok(text),
        Flow::Addrs(_) => Err("gives a list of interfaces; end it with attr or join".to_owned()),
    }
}

struct Call {
    name: String,
    args: Vec<String>,
}

impl Call {
    fn args<const N: usize>(&self) -> Result<&[String; N], String> {
        self.args
            .as_slice()
            .try_into()
            .map_err(|_| format!("wrong number of args for {}: want {N} got {}", self.name, self.args.len()))
    }
}

fn parse(pipeline: &str) -> Result<Vec<Call>, String> {
    let mut calls: Vec<Call> = Vec::new();
    let mut fresh = true;
    let mut chars = pipeline.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '|' if !fresh => {
                chars.next();
                fresh = true;
            }
            '"' | '`' => {
                chars.next();
                let mut text = String::new();
                loop {
                    match chars.next() {
                        None => return Err("unterminated quoted string".to_owned()),
                        Some('\\') if c == '"' => text.extend(chars.next()),
                        Some(end) if end == c => break,
                        Some(other) => text.push(other),
                    }
                }
                match calls.last_mut() {
                    Some(call) if !fresh => call.args.push(text),
                    _ => return Err(format!("expected a function, got {text:?}")),
                }
            }
            c if c.is_ascii_alphanumeric() || c == '-' => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if !c.is_ascii_alphanumeric() && c != '-' && c != '_' {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                match calls.last_mut() {
                    Some(call) if !fresh => call.args.push(word),
                    _ => {
                        calls.push(Call { name: word, args: Vec::new() });
                        fresh = false;
                    }
                }
            }
            other => return Err(format!("unexpected {other:?} in command")),
        }
    }
    if fresh {
        return Err("missing value for command".to_owned());
    }
    Ok(calls)
}

fn source(call: &Call, all: &[InterfaceAddr]) -> Result<Flow, String> {
    let forwardable = || all.iter().filter(|i| is_forwardable(i.ip) && i.up).cloned().collect::<Vec<_>>();
    let of_kind = |private: bool| {
        let mut list = forwardable();
        list.retain(|i| is_private(i.ip) == private);
        sort("default,type,size", &mut list).map(|()| list)
    };
    let named = |pattern: &str| -> Result<Vec<InterfaceAddr>, String> {
        let mut list = forwardable();
        let name = regex(pattern)?;
        list.retain(|i| name.is_match(&i.name));
        sort("type,size", &mut list)?;
        Ok(list)
    };
    let first =
        |list: Vec<InterfaceAddr>| Flow::Text(list.first().map(|i| i.ip.to_string()).unwrap_or_default());
    let every = |list: Vec<InterfaceAddr>| Flow::Text(join(&list, "address", " ").unwrap_or_default());
    Ok(match call.name.as_str() {
        "GetInterfaceIP" => first(named(&call.args::<1>()?[0])?),
        "GetInterfaceIPs" => every(named(&call.args::<1>()?[0])?),
        name => {
            call.args::<0>()?;
            match name {
                "GetAllInterfaces" => Flow::Addrs(all.to_vec()),
                "GetDefaultInterfaces" => {
                    Flow::Addrs(all.iter().filter(|i| i.default_route).cloned().collect())
                }
                "GetPrivateInterfaces" => Flow::Addrs(of_kind(true)?),
                "GetPublicInterfaces" => Flow::Addrs(of_kind(false)?),
                "GetPrivateIP" => first(of_kind(true)?),
                "GetPrivateIPs" => every(of_kind(true)?),
                "GetPublicIP" => first(of_kind(false)?),
                "GetPublicIPs" => every(of_kind(false)?),
                other => return Err(format!("function {other:?} not defined")),
            }
        }
    })
}

fn filter(call: &Call, mut addrs: Vec<InterfaceAddr>) -> Result<Flow, String> {
    match call.name.as_str() {
        "include" | "exclude" => {
            let [what, value] = call.args::<2>()?;
            let keep = call.name == "include";
            let test = condition(what, value)?;
            addrs.retain(|i| test(i) == keep);
        }
        "sort" => sort(&call.args::<1>()?[0], &mut addrs)?,
        "unique" => {
            let [name] = call.args::<1>()?;
            let mut seen = Vec::new();
            let mut kept = Vec::new();
            for addr in addrs {
                let value = attribute(&addr, name)?;
                if !seen.contains(&value) {
                    seen.push(value);
                    kept.push(addr);
                }
            }
            addrs = kept;
        }
        "limit" => addrs.truncate(number(&call.args::<1>()?[0])?),
        "offset" => {
            let skip = number(&call.args::<1>()?[0])?.min(addrs.len());
            addrs.drain(..skip);
        }
        "attr" => {
            let [name] = call.args::<1>()?;
            return Ok(Flow::Text(match addrs.first() {
                Some(addr) => attribute(addr, name)?,
                None => String::new(),
            }));
        }
        "join" => {
            let [name, separator] = call.args::<2>()?;
            return join(&addrs, name, separator).map(Flow::Text);
        }
        other => return Err(format!("function {other:?} not defined")),
    }
    Ok(Flow::Addrs(addrs))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("expected a number, got {text:?}"))
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|_| format!("unable to compile the regular expression {pattern:?}"))
}

fn join(addrs: &[InterfaceAddr], name: &str, separator: &str) -> Result<String, String> {
    let parts: Result<Vec<String>, String> = addrs.iter().map(|a| attribute(a, name)).collect();
    Ok(parts?.join(separator))
}

type Test = Box<dyn Fn(&InterfaceAddr) -> bool>;

fn condition(what: &str, value: &str) -> Result<Test, String> {
    let value = value.to_owned();
    Ok(match what.to_ascii_lowercase().as_str() {
        "name" => {
            let name = regex(&value)?;
            Box::new(move |i| name.is_match(&i.name))
        }
        "address" => Box::new(move |i| i.ip.to_string() == value),
        "type" => match value.to_ascii_lowercase().as_str() {
            "ip" => Box::new(|_| true),
            "ipv4" => Box::new(|i| i.ip.is_ipv4()),
            "ipv6" => Box::new(|i| i.ip.is_ipv6()),
            other => return Err(format!("unsupported type {other:?}")),
        },
        "flag" | "flags" => {
            let flags: Vec<String> = value.split('|').map(|f| f.trim().to_ascii_lowercase()).collect();
            if let Some(bad) = flags.iter().find(|f| !FLAGS.contains(&f.as_str())) {
                return Err(format!("unsupported flag {bad:?}"));
            }
            Box::new(move |i| flags.iter().all(|f| has_flag(i, f)))
        }
        "network" => {
            let nets: Result<Vec<Cidr>, String> = value.split('|').map(str::parse).collect();
            let nets = nets?;
            Box::new(move |i| nets.iter().any(|n| n.contains(i.ip)))
        }
        "rfc" => match value.as_str() {
            "1918" => Box::new(|i| matches!(i.ip, IpAddr::V4(v4) if v4.is_private())),
            "6890" => Box::new(|i| is_private(i.ip)),
            other => return Err(format!("unsupported RFC {other:?}")),
        },
        "size" => {
            let bits: u8 = value
                .trim_start_matches('/')
                .parse()
                .map_err(|_| format!("unsupported size {value:?}, want /bits"))?;
            Box::new(move |i| i.prefix == bits)
        }
        other => return Err(format!("unsupported filter {other:?}")),
    })
}

const FLAGS: &[&str] = &[
    "broadcast",
    "down",
    "forwardable",
    "global unicast",
    "link-local unicast",
    "loopback",
    "multicast",
    "point-to-point",
    "unspecified",
    "up",
];

fn has_flag(i: &InterfaceAddr, flag: &str) -> bool {
    match flag {
        "broadcast" => i.broadcast,
        "down" => !i.up,
        "forwardable" => is_forwardable(i.ip),
        "global unicast" => is_forwardable(i.ip),
        "link-local unicast" => is_link_local(i.ip),
        "loopback" => i.loopback,
        "multicast" => i.multicast,
        "point-to-point" => i.point_to_point,
        "unspecified" => i.ip.is_unspecified(),
        "up" => i.up,
        _ => false,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_forwardable(ip: IpAddr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip)
}

fn sort(keys: &str, addrs: &mut [InterfaceAddr]) -> Result<(), String> {
    // From the last key to the first: the sort is stable, so the first decides.
    for key in keys.split(',').rev() {
        let key = key.trim();
        let (name, reverse) = match key.strip_prefix('-') {
            Some(name) => (name, true),
            None => (key.strip_prefix('+').unwrap_or(key), false),
        };
        let by: fn(&InterfaceAddr) -> (u128, String) = match name {
            "address" => |i| match i.ip {
                IpAddr::V4(v4) => (u32::from(v4).into(), String::new()),
                IpAddr::V6(v6) => (v6.into(), String::new()),
            },
            "default" => |i| (u128::from(!i.default_route), String::new()),
            "name" => |i| (0, i.name.clone()),
            "private" => |i| (u128::from(!is_private(i.ip)), String::new()),
            "size" => |i| (u128::from(u8::MAX - i.prefix), String::new()),
            "type" => |i| (u128::from(i.ip.is_ipv6()), String::new()),
            other => return Err(format!("unsupported sort {other:?}")),
        };
        if reverse {
            addrs.sort_by_key(|i| std::cmp::Reverse(by(i)));
        } else {
            addrs.sort_by_key(by);
        }
    }
    Ok(())
}

fn attribute(i: &InterfaceAddr, name: &str) -> Result<String, String> {
    let mask = |bits: u8| -> IpAddr {
        match i.ip {
            IpAddr::V4(_) => {
                u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0).to_be_bytes().into()
            }
            IpAddr::V6(_) => {
                u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0).to_be_bytes().into()
            }
        }
    };
    let network = || -> IpAddr {
        match (i.ip, mask(i.prefix)) {
            (IpAddr::V4(a), IpAddr::V4(m)) => (a & m).into(),
            (IpAddr::V6(a), IpAddr::V6(m)) => (a & m).into(),
            (other, _) => other,
        }
    };
    Ok(match name.to_ascii_lowercase().as_str() {
        "address" | "host" => i.ip.to_string(),
        "name" => i.name.clone(),
        "type" => if i.ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        "flags" => {
            let mut flags = Vec::new();
            for (set, word) in [
                (i.up, "up"),
                (i.broadcast, "broadcast"),
                (i.loopback, "loopback"),
                (i.point_to_point, "pointtopoint"),
                (i.multicast, "multicast"),
            ] {
                if set {
                    flags.push(word);
                }
            }
            flags.join("|")
        }
        "network" => network().to_string(),
        "netmask" => mask(i.prefix).to_string(),
        "mask_bits" => i.prefix.to_string(),
        "string" => format!("{}/{}", i.ip, i.prefix),
        other => return Err(format!("unsupported attribute {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::interfaces::tests::iface;
    use super::*;

    fn machine() -> Vec<InterfaceAddr> {
        vec![
            iface("lo", "127.0.0.1", 8),
            iface("lo", "::1", 128),
            iface("eth0", "10.1.2.3", 16),
            iface("eth0", "fe80::1", 64),
            iface("eth1", "192.168.7.8", 24),
            iface("eth2", "93.184.216.34", 24),
        ]
    }

    #[test]
    fn templates_are_expanded() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1"),
            ("{{ GetPrivateIP }}", "10.1.2.3"),
            ("{{GetPrivateIPs}}", "10.1.2.3 192.168.7.8"),
            ("{{ GetPublicIP }}", "93.184.216.34"),
            (r#"{{ GetInterfaceIP "eth1" }}"#, "192.168.7.8"),
            (r#"{{ GetInterfaceIP "lo" }}"#, ""),
            (r#"{{ GetInterfaceIPs "eth[01]" }} 127.0.0.1"#, "192.168.7.8 10.1.2.3 127.0.0.1"),
            (
                r#"{{ GetAllInterfaces | include "name" "lo" | include "type" "IPv4" | attr "address" }}"#,
                "127.0.0.1",
            ),
            (
                r#"{{ GetAllInterfaces | exclude "flags" "loopback" | include "type" "ipv4" | sort "-address" | limit 2 | join "address" "," }}"#,
                "192.168.7.8,93.184.216.34",
            ),
            (
                r#"{{ GetPrivateInterfaces | include "network" "192.168.0.0/16" | attr "network" }}"#,
                "192.168.7.0",
            ),
            (r#"{{ GetDefaultInterfaces | include "type" "IPv4" | attr "name" }}"#, "eth0"),
            (r#"{{ GetAllInterfaces | include "name" "none" | attr "address" }}"#, ""),
            (r#"{{ GetAllInterfaces | include `name` `eth0` | offset 1 | attr "string" }}"#, "fe80::1/64"),
        ] {
            assert_eq!(expand(text, &machine()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "{{ GetNoSuchThing }}",
            "{{ GetPrivateIP",
            "{{ }}",
            "{{ GetAllInterfaces }}",
            "{{ GetAllInterfaces | attr }}",
            r#"{{ GetAllInterfaces | attr "colour" }}"#,
            r#"{{ GetAllInterfaces | include "name" "(" | attr "address" }}"#,
            r#"{{ GetAllInterfaces | limit "x" | attr "address" }}"#,
            r#"{{ GetPrivateIP | attr "address" }}"#,
            r#"{{ with $x := GetPrivateIP }}"#,
            r#"{{ GetInterfaceIP "lo }}"#,
            "{{ GetAllInterfaces | }}",
        ] {
            assert!(expand(text, &machine()).is_err(), "{text}");
        }
    }
}
