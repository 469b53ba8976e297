//! DNS questions to an agent.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, Srv};

/// The addresses of a name at the agent's DNS port.
pub fn addresses(agent: Ipv4Addr, name: &str) -> Result<Vec<IpAddr>, String> {
    let message = ask(agent, name, Rtype::A)?;
    let answer = message.answer().map_err(|e| e.to_string())?;
    let mut found: Vec<IpAddr> =
        answer.limit_to::<A>().flatten().map(|record| IpAddr::V4(record.data().addr())).collect();
    found.sort();
    if found.is_empty() { Err(format!("{name}: no address")) } else { Ok(found) }
}

/// The ports that SRV records of a name tell.
pub fn ports(agent: Ipv4Addr, name: &str) -> Result<Vec<u16>, String> {
    let message = ask(agent, name, Rtype::SRV)?;
    let answer = message.answer().map_err(|e| e.to_string())?;
    let mut found: Vec<u16> =
        answer.limit_to::<Srv<_>>().flatten().map(|record| record.data().port()).collect();
    found.sort_unstable();
    if found.is_empty() { Err(format!("{name}: no SRV record")) } else { Ok(found) }
}

fn ask(agent: Ipv4Addr, name: &str, rtype: Rtype) -> Result<Message<Vec<u8>>, String> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    let parsed = Name::<Vec<u8>>::from_str(name).map_err(|e| format!("{name}: {e}"))?;
    question.push((parsed, rtype, Class::IN)).map_err(|e| e.to_string())?;
    let request = question.finish();

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(8))).map_err(|e| e.to_string())?;
    socket.send_to(&request, (agent, 8600)).map_err(|e| e.to_string())?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).map_err(|e| format!("{name}: {e}"))?;
    buffer.truncate(length);
    let message = Message::from_octets(buffer).map_err(|e| format!("{name}: {e}"))?;
    match message.header().rcode() {
        Rcode::NOERROR => Ok(message),
        other => Err(format!("{name}: {other}")),
    }
}
