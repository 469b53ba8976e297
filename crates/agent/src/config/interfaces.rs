//! The machine's addresses, and the choice of one when nobody named it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One address of one network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddr {
    pub name: String,
    pub ip: IpAddr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    pub up: bool,
    pub loopback: bool,
    pub broadcast: bool,
    pub multicast: bool,
    pub point_to_point: bool,
    /// The interface of the default route.
    pub default_route: bool,
}

/// Asks the system for all addresses, in its order.
pub fn of_system() -> std::io::Result<Vec<InterfaceAddr>> {
    use nix::net::if_::InterfaceFlags as Flags;
    let default = default_route_interface();
    let mut found = Vec::new();
    for entry in nix::ifaddrs::getifaddrs().map_err(std::io::Error::from)? {
        let Some(address) = entry.address else { continue };
        let ip: IpAddr = if let Some(v4) = address.as_sockaddr_in() {
            v4.ip().into()
        } else if let Some(v6) = address.as_sockaddr_in6() {
            v6.ip().into()
        } else {
            continue;
        };
        let prefix = entry.netmask.and_then(|mask| {
            if let Some(v4) = mask.as_sockaddr_in() {
                Some(u32::from(v4.ip()).leading_ones())
            } else {
                mask.as_sockaddr_in6().map(|v6| u128::from(v6.ip()).leading_ones())
            }
        });
        let full = if ip.is_ipv4() { 32 } else { 128 };
        found.push(InterfaceAddr {
            default_route: default.as_deref() == Some(&entry.interface_name),
            ip,
            prefix: prefix.unwrap_or(full) as u8,
            up: entry.flags.contains(Flags::IFF_UP),
            loopback: entry.flags.contains(Flags::IFF_LOOPBACK),
            broadcast: entry.flags.contains(Flags::IFF_BROADCAST),
            multicast: entry.flags.contains(Flags::IFF_MULTICAST),
            point_to_point: entry.flags.contains(Flags::IFF_POINTOPOINT),
            name: entry.interface_name,
        });
    }
    Ok(found)
}

/// The interface of the IPv4 default route, from the kernel's table.
fn default_route_interface() -> Option<String> {
    let table = fs::read_to_string("/proc/net/route").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let name = columns.next()?;
        (columns.next()? == "00000000").then(|| name.to_owned())
    })
}

/// Which family to look for when an address of any kind was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detect {
    PrivateV4,
    PublicV6,
}

impl Detect {
    fn name(self) -> &'static str {
        match self {
            Detect::PrivateV4 => "private IPv4",
            Detect::PublicV6 => "public IPv6",
        }
    }

    /// The one address that other agents can reach this one at. Loopback
    /// counts only on a machine that has nothing else.
    pub(crate) fn choose(self, interfaces: &[InterfaceAddr]) -> Result<IpAddr, String> {
        let up = |loopback: bool| {
            interfaces
                .iter()
                .filter(move |i| i.up && i.loopback == loopback)
                .map(|i| i.ip)
                .collect::<Vec<_>>()
        };
        let mut candidates = up(false);
        if candidates.is_empty() {
            candidates = up(true);
        }
        candidates.retain(|ip| match self {
            Detect::PrivateV4 => ip.is_ipv4() && is_private(*ip),
            Detect::PublicV6 => ip.is_ipv6() && !is_private(*ip),
        });
        match candidates.as_slice() {
            [] => Err(format!("No {} address found", self.name())),
            [one] => Ok(*one),
            _ => Err(format!(
                "Multiple {} addresses found. Please configure one with 'bind' and/or 'advertise'.",
                self.name()
            )),
        }
    }
}

/// Address blocks that are not forwarded on the internet (RFC 6890).
const PRIVATE_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

const PRIVATE_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
];

pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => PRIVATE_V4.iter().any(|(net, len)| within(IpAddr::V4(v4), (*net).into(), *len)),
        IpAddr::V6(v6) => PRIVATE_V6.iter().any(|(net, len)| within(IpAddr::V6(v6), (*net).into(), *len)),
    }
}

/// Whether an address lies in a network given by any address of it and its prefix length.
pub(crate) fn within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32 - u32::from(prefix.min(32));
            shift == 32 || u32::from(a) >> shift == u32::from(b) >> shift
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128 - u32::from(prefix.min(128));
            shift == 128 || u128::from(a) >> shift == u128::from(b) >> shift
        }
        _ => false,
    }
}

/// A network as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub network: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    pub fn contains(&self, ip: IpAddr) -> bool {
        within(ip, self.network, self.prefix)
    }
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid CIDR address: {text}");
        let (ip, prefix) = text.trim().split_once('/').ok_or_else(bad)?;
        let network: IpAddr = ip.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let limit = if network.is_ipv4() { 32 } else { 128 };
        if prefix > limit {
            return Err(bad());
        }
        Ok(Self { network, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn iface(name: &str, ip: &str, prefix: u8) -> InterfaceAddr {
        let ip: IpAddr = ip.parse().unwrap();
        InterfaceAddr {
            name: name.to_owned(),
            ip,
            prefix,
            up: true,
            loopback: ip.is_loopback(),
            broadcast: !ip.is_loopback(),
            multicast: !ip.is_loopback(),
            point_to_point: false,
            default_route: name == "eth0",
        }
    }

    #[test]
    fn one_private_address_is_chosen() {
        let lo = iface("lo", "127.0.0.1", 8);
        let eth0 = iface("eth0", "10.1.2.3", 16);
        let public = iface("eth0", "8.8.4.4", 24);
        let eth1 = iface("eth1", "192.168.1.2", 24);
        let v6 = iface("eth0", "2a00::1", 64);
        let choose = |list: &[&InterfaceAddr]| {
            Detect::PrivateV4.choose(&list.iter().map(|i| (*i).clone()).collect::<Vec<_>>())
        };
        assert_eq!(choose(&[&lo, &eth0, &public, &v6]), Ok(eth0.ip));
        assert_eq!(choose(&[&lo]), Ok(lo.ip));
        assert_eq!(choose(&[&lo, &public]), Err("No private IPv4 address found".to_owned()));
        assert_eq!(
            choose(&[&eth0, &eth1]),
            Err(
                "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'."
                    .to_owned()
            )
        );
        let down = InterfaceAddr { up: false, ..eth1 };
        assert_eq!(choose(&[&eth0, &down]), Ok(eth0.ip));
        assert_eq!(Detect::PublicV6.choose(&[lo, eth0, v6.clone()]), Ok(v6.ip));
    }

    #[test]
    fn networks() {
        let net: Cidr = "10.0.0.0/8".parse().unwrap();
        assert!(net.contains("10.200.0.1".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("1.2.3.4".parse().unwrap()));
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", ""] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
