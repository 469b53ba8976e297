//! Which addresses the agent listens on and tells others.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::build::{cidrs, tagged_addresses};
use super::interfaces::{Detect, InterfaceAddr};
use super::runtime::{ClientAddr, Listen, Net, Ports, UnixSocket};
use super::template;
use super::view::View;

pub(crate) struct Addresses<'a, 'b> {
    pub view: &'a View<'b>,
    pub interfaces: &'a [InterfaceAddr],
    pub ports: &'a Ports,
}

impl Addresses<'_, '_> {
    pub(crate) fn resolve(&self) -> Result<Net, String> {
        let v = self.view;
        let bind_addr = self.bind_addr()?;
        for (key, name) in [("advertise_addr", "Advertise"), ("advertise_addr_wan", "Advertise WAN")] {
            if self.first_ip(key)?.is_some_and(|ip| ip.is_unspecified()) {
                return Err(format!("{name} address cannot be 0.0.0.0, :: or [::]"));
            }
        }
        let advertise_lan = match self.first_ip("advertise_addr")? {
            Some(ip) => ip,
            None if bind_addr.is_unspecified() => {
                let family = if bind_addr.is_ipv4() { Detect::PrivateV4 } else { Detect::PublicV6 };
                family.choose(self.interfaces)?
            }
            None => bind_addr,
        };
        let of_family = |ip: IpAddr, v4: bool| Some(ip).filter(|ip| ip.is_ipv4() == v4);
        let family = |key: &str, v4: bool, default: Option<IpAddr>| -> Result<Option<IpAddr>, String> {
            match self.first_ip(key)? {
                Some(ip) if ip.is_ipv4() != v4 => {
                    Err(format!("{key} must be an ipv{} address", if v4 { 4 } else { 6 }))
                }
                Some(ip) => Ok(Some(ip)),
                None => Ok(default),
            }
        };
        let lan_v4 = family("advertise_addr_ipv4", true, of_family(advertise_lan, true))?;
        let lan_v6 = family("advertise_addr_ipv6", false, of_family(advertise_lan, false))?;
        let advertise_wan = self.first_ip("advertise_addr_wan")?.unwrap_or(advertise_lan);
        let wan_v4 = family("advertise_addr_wan_ipv4", true, of_family(advertise_wan, true).or(lan_v4))?;
        let wan_v6 = family("advertise_addr_wan_ipv6", false, of_family(advertise_wan, false).or(lan_v6))?;

        let server_port = self.ports.server.unwrap_or(0);
        let lan_port = self.ports.serf_lan.unwrap_or(0);
        let serf_lan = self.first_ip("serf_lan")?.unwrap_or(bind_addr);
        let serf_wan = self.first_ip("serf_wan")?.unwrap_or(bind_addr);
        let client_addrs = self.client_addrs("client_addr")?;
        Ok(Net {
            bind_addr,
            advertise_lan,
            advertise_wan,
            rpc_bind: SocketAddr::new(bind_addr, server_port),
            rpc_advertise: SocketAddr::new(advertise_lan, server_port),
            serf_lan_bind: SocketAddr::new(serf_lan, lan_port),
            serf_lan_advertise: SocketAddr::new(advertise_lan, lan_port),
            serf_wan_bind: self.ports.serf_wan.map(|port| SocketAddr::new(serf_wan, port)),
            serf_wan_advertise: self.ports.serf_wan.map(|port| SocketAddr::new(advertise_wan, port)),
            serf_lan_allowed_cidrs: cidrs(v, "serf_lan_allowed_cidrs", "serf_lan_allowed_cidrs"),
            serf_wan_allowed_cidrs: cidrs(v, "serf_wan_allowed_cidrs", "serf_wan_allowed_cidrs"),
            tagged_addresses: tagged_addresses(
                v.text_map("tagged_addresses"),
                &[
                    ("lan", Some(advertise_lan)),
                    ("lan_ipv4", lan_v4),
                    ("lan_ipv6", lan_v6),
                    ("wan", Some(advertise_wan)),
                    ("wan_ipv4", wan_v4),
                    ("wan_ipv6", wan_v6),
                ],
            ),
            translate_wan_addrs: v.flag("translate_wan_addrs"),
            dns: self.dns(&client_addrs)?,
            http: self.listen("addresses.http", &client_addrs, self.ports.http)?,
            https: self.listen("addresses.https", &client_addrs, self.ports.https)?,
            grpc: self.listen("addresses.grpc", &client_addrs, self.ports.grpc)?,
            client_addrs,
            unix_socket: UnixSocket {
                user: v.text("unix_sockets.user"),
                group: v.text("unix_sockets.group"),
                mode: v.text("unix_sockets.mode"),
            },
        })
    }

    fn expand(&self, key: &str) -> Result<Option<String>, String> {
        let Some(text) = self.view.set_text(key) else { return Ok(None) };
        let expanded = template::expand(&text, self.interfaces)
            .map_err(|e| format!("{key}: error parsing {text:?}: {e}"))?;
        if expanded.is_empty() && !text.trim().is_empty() {
            return Err(format!("{key}: no address found for {text:?}"));
        }
        Ok(Some(expanded))
    }

    fn first_ip(&self, key: &str) -> Result<Option<IpAddr>, String> {
        let Some(text) = self.expand(key)? else { return Ok(None) };
        let mut words = text.split_whitespace();
        let Some(first) = words.next() else { return Ok(None) };
        if words.next().is_some() {
            return Err(format!("{key}: multiple addresses found: {text}"));
        }
        ip(key, first).map(Some)
    }

    fn bind_addr(&self) -> Result<IpAddr, String> {
        let all = self.client_addrs("bind_addr")?;
        match all.as_slice() {
            [] => Err("bind_addr cannot be empty".to_owned()),
            [ClientAddr::Ip(ip)] => Ok(*ip),
            [ClientAddr::Unix(_)] => Err("bind_addr cannot be a unix socket".to_owned()),
            _ => {
                Err("bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead."
                    .to_owned())
            }
        }
    }

    fn client_addrs(&self, key: &str) -> Result<Vec<ClientAddr>, String> {
        let Some(text) = self.expand(key)? else { return Ok(Vec::new()) };
        text.split_whitespace()
            .map(|word| match word.strip_prefix("unix://") {
                Some(path) => Ok(ClientAddr::Unix(PathBuf::from(path))),
                None => ip(key, word).map(ClientAddr::Ip),
            })
            .collect()
    }

    fn listen(&self, key: &str, default: &[ClientAddr], port: Option<u16>) -> Result<Vec<Listen>, String> {
        let own = self.client_addrs(key)?;
        let Some(port) = port else { return Ok(Vec::new()) };
        let addrs = if own.is_empty() { default } else { &own };
        Ok(addrs
            .iter()
            .map(|addr| match addr {
                ClientAddr::Ip(ip) => Listen::Tcp(SocketAddr::new(*ip, port)),
                ClientAddr::Unix(path) => Listen::Unix(path.clone()),
            })
            .collect())
    }

    fn dns(&self, default: &[ClientAddr]) -> Result<Vec<SocketAddr>, String> {
        let listens = self.listen("addresses.dns", default, self.ports.dns)?;
        listens
            .into_iter()
            .map(|listen| match listen {
                Listen::Tcp(addr) => Ok(addr),
                Listen::Unix(_) => Err("DNS address cannot be a unix socket".to_owned()),
            })
            .collect()
    }
}

/// A list of addresses, hosts or other things to find agents by, in which templates may stand. One
/// template may give several addresses, or none.
pub(crate) fn expanded(v: &View<'_>, key: &str, interfaces: &[InterfaceAddr]) -> Vec<String> {
    let mut out = Vec::new();
    for text in v.texts(key) {
        if !text.contains("{{") {
            out.push(text);
            continue;
        }
        match template::expand(&text, interfaces) {
            Ok(addresses) => out.extend(addresses.split_whitespace().map(str::to_owned)),
            Err(e) => v.error(format!("{key}: error parsing {text:?}: {e}")),
        }
    }
    out
}

fn ip(key: &str, text: &str) -> Result<IpAddr, String> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .map_err(|_| format!("{key}: invalid ip address: {text}"))
}
