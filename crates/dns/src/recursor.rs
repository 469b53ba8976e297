//! Asking others for names outside the zone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ToName;
use domain::base::record::Record as ParsedRecord;
use domain::base::{Message, MessageBuilder, ParsedName};
use domain::rdata::AllRecordData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::encode::{Data, MAX_TCP, Owner, Record};
use crate::face::Transport;
use crate::name::DnsName;

/// Most records taken from an answer for another name.
const MAX_RECORDS: usize = 64;

/// The answer of the first recursor that has one, be it that there is no such name. `None` if all
/// fail or are silent. The query goes on as it came, with an id of its own.
pub async fn forward(
    recursors: &[SocketAddr],
    limit: Duration,
    query: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    let id = query.get(..2)?;
    for recursor in recursors {
        match timeout(limit, exchange(*recursor, query, transport)).await {
            Ok(Ok(mut answer)) => {
                let rcode = Message::from_octets(answer.as_slice()).ok()?.header().rcode();
                if matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
                    answer[..2].copy_from_slice(id);
                    return Some(answer);
                }
                tracing::debug!(target: "agent.dns", recursor = %recursor, rcode = %rcode, "recurse failed");
            }
            Ok(Err(error)) => {
                tracing::error!(target: "agent.dns", recursor = %recursor, error = %error, "recurse failed");
            }
            Err(_) => tracing::error!(target: "agent.dns", recursor = %recursor, "recurse failed: timeout"),
        }
    }
    None
}

/// The IPv4 addresses of a name and the aliases that lead to them.
pub async fn addresses(recursors: &[SocketAddr], limit: Duration, name: &DnsName) -> Vec<Record> {
    if recursors.is_empty() {
        return Vec::new();
    }
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    if builder.push((name, Rtype::A, Class::IN)).is_err() {
        return Vec::new();
    }
    let query = builder.finish();
    match forward(recursors, limit, &query, Transport::Udp).await {
        Some(answer) => read_addresses(&answer),
        None => Vec::new(),
    }
}

fn read_addresses(answer: &[u8]) -> Vec<Record> {
    let Ok(message) = Message::from_octets(answer) else { return Vec::new() };
    let Ok(section) = message.answer() else { return Vec::new() };
    section
        .limit_to::<AllRecordData<&[u8], ParsedName<&[u8]>>>()
        .filter_map(Result::ok)
        .filter_map(|record: ParsedRecord<_, _>| {
            let data = match record.data() {
                AllRecordData::A(a) => Data::A(a.addr()),
                AllRecordData::Aaaa(a) => Data::Aaaa(a.addr()),
                AllRecordData::Cname(name) => Data::Cname(name.cname().to_vec()),
                _ => return None,
            };
            Some(Record { owner: Owner::Name(record.owner().to_vec()), ttl: record.ttl().as_secs(), data })
        })
        .take(MAX_RECORDS)
        .collect()
}

/// Sends the query under a random id and gives the answer to it.
async fn exchange(recursor: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    let mut query = query.to_vec();
    query[..2].copy_from_slice(&rand::random::<[u8; 2]>());
    match transport {
        Transport::Udp => exchange_udp(recursor, &query).await,
        Transport::Tcp => exchange_tcp(recursor, &query).await,
    }
}

async fn exchange_udp(recursor: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match recursor {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each query makes forged answers harder (RFC 5452 section 9.2).
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(recursor).await?;
    socket.send(query).await?;
    let mut answer = vec![0; MAX_TCP];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(query, &answer[..length]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn exchange_tcp(recursor: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(recursor).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    if is_answer(query, &answer) { Ok(answer) } else { Err(io::Error::other("answer to another query")) }
}

fn is_answer(query: &[u8], answer: &[u8]) -> bool {
    match (Message::from_octets(query), Message::from_octets(answer)) {
        (Ok(query), Ok(answer)) => answer.is_answer(&query),
        _ => false,
    }
}
