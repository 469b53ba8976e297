//! `dev --check`: the federation is used as its users would, and every answer is compared.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::plan::Agent;
use super::progress::{api, catalog};
use crate::ui;

/// How long one check may take before it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs all checks, prints them, and says whether all went well.
pub async fn check(agents: &[Agent], datacenters: &[String]) -> bool {
    let mut all_good = true;
    let mut report = |what: String, result: Result<(), String>| match result {
        Ok(()) => ui::line(format_args!("  ok      {what}")),
        Err(why) => {
            all_good = false;
            ui::line(format_args!("  FAILED  {what}: {why}"));
        }
    };
    for agent in agents {
        let result = bounded(knows_datacenters(agent, datacenters)).await;
        report(format!("{} lists all datacenters", agent.name), result);
    }
    for from in datacenters {
        for to in datacenters {
            let seen = bounded(async {
                match catalog(agents, from, to).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("not all nodes are there".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            });
            report(format!("{from} reads the catalog of {to}"), seen.await);
            if let Some(agent) = agents.iter().find(|agent| agent.datacenter == *from) {
                report(format!("{from} writes and reads a key in {to}"), bounded(key(agent, to)).await);
                let servers: BTreeSet<IpAddr> = agents
                    .iter()
                    .filter(|agent| agent.server && agent.datacenter == *to)
                    .map(|agent| agent.address)
                    .collect();
                let answer = bounded(dns(agent, to, &servers)).await;
                report(format!("DNS of {from} finds the servers of {to}"), answer);
            }
        }
    }
    all_good
}

async fn bounded(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")))
}

async fn knows_datacenters(agent: &Agent, expected: &[String]) -> Result<(), String> {
    let api = api(agent).map_err(|e| e.to_string())?;
    let mut list: Vec<String> = api.get("/v1/catalog/datacenters").json().await.map_err(|e| e.to_string())?;
    let mut expected = expected.to_vec();
    list.sort();
    expected.sort();
    if list == expected { Ok(()) } else { Err(format!("it lists {list:?}")) }
}

async fn key(agent: &Agent, dc: &str) -> Result<(), String> {
    let api = api(agent).map_err(|e| e.to_string())?;
    let path = format!("/v1/kv/dev-check/{}", agent.datacenter);
    let value = format!("from {} to {dc}", agent.name);
    let text = |e: crate::api::ApiError| e.to_string();
    let written: bool = api.put(&path).datacenter(dc).body(value.clone()).json().await.map_err(text)?;
    if !written {
        return Err("the write was refused".to_owned());
    }
    let reply = api.get(&path).datacenter(dc).param("raw", "").ok().await.map_err(text)?;
    if reply.body != value {
        return Err(format!("read {:?} back", String::from_utf8_lossy(&reply.body)));
    }
    let _deleted: bool = api.delete(&path).datacenter(dc).json().await.map_err(text)?;
    Ok(())
}

async fn dns(agent: &Agent, dc: &str, expected: &BTreeSet<IpAddr>) -> Result<(), String> {
    let name = format!("consul.service.{dc}.consul");
    let socket = UdpSocket::bind((agent.address, 0)).await.map_err(|e| e.to_string())?;
    socket.connect(SocketAddr::new(agent.address, agent.ports.dns)).await.map_err(|e| e.to_string())?;
    socket.send(&query(&name)).await.map_err(|e| e.to_string())?;
    let mut buffer = [0; 4096];
    let size = socket.recv(&mut buffer).await.map_err(|e| e.to_string())?;
    let found = addresses(&buffer[..size]).ok_or("unreadable answer")?;
    // An answer over UDP may be cut to a few of many.
    if !found.is_empty() && found.is_subset(expected) && found.len() >= expected.len().min(3) {
        Ok(())
    } else {
        Err(format!("{name} is {found:?}"))
    }
}

/// A question for the A records of a name (RFC 1035, section 4).
fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

/// The addresses in an answer; `None` if it is damaged.
fn addresses(packet: &[u8]) -> Option<BTreeSet<IpAddr>> {
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let skip_name = |mut at: usize| loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            label => at += 1 + usize::from(label),
        }
    };
    let mut at = 12;
    for _ in 0..number(4)? {
        at = skip_name(at)? + 4;
    }
    let mut found = BTreeSet::new();
    for _ in 0..number(6)? {
        at = skip_name(at)?;
        let (kind, size) = (number(at)?, usize::from(number(at + 8)?));
        let data = packet.get(at + 10..at + 10 + size)?;
        if kind == 1
            && let Ok(octets) = <[u8; 4]>::try_from(data)
        {
            found.insert(Ipv4Addr::from(octets).into());
        }
        at += 10 + size;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers() {
        let mut packet = query("a.bc");
        assert_eq!(&packet[12..], b"\x01a\x02bc\0\0\x01\0\x01");
        packet[7] = 2;
        for last in [1, 2] {
            packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, last]);
        }
        let expected: BTreeSet<IpAddr> =
            ["127.0.0.1", "127.0.0.2"].iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(addresses(&packet), Some(expected));
        assert_eq!(addresses(&packet[..packet.len() - 1]), None);
        assert_eq!(addresses(&[]), None);
    }
}
