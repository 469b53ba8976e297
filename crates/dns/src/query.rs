//! Reading a query message.

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::name::ToName;
use domain::base::opt::ClientSubnet;
use domain::base::{Message, ParsedName};

use crate::name::DnsName;

/// A query of one question.
#[derive(Clone, Debug)]
pub struct Query {
    /// The sender's id.
    pub id: u16,
    /// Recursion is desired.
    pub rd: bool,
    /// Checking is disabled.
    pub cd: bool,
    /// The name asked, in the sender's case.
    pub name: DnsName,
    /// The type asked.
    pub qtype: Rtype,
    /// The class asked; echoed, not looked at.
    pub qclass: Class,
    /// What the sender says by EDNS (RFC 6891).
    pub edns: Option<Edns>,
}

/// The part of EDNS that matters here.
#[derive(Clone, Copy, Debug)]
pub struct Edns {
    /// Bytes the sender takes in a datagram.
    pub payload: u16,
    /// Where the sender's client is (RFC 7871).
    pub subnet: Option<ClientSubnet>,
}

/// A message that is no query to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Not worth an answer: too short, or an answer itself.
    Drop,
    /// The answer that says why.
    Answer(Vec<u8>),
}

/// Bytes of a message's header.
const HEADER: usize = 12;
/// Records of each section that a query may carry, as many as the reference takes.
const MAX_ANSWERS: u16 = 1;
const MAX_AUTHORITY: u16 = 1;
const MAX_ADDITIONAL: u16 = 2;

impl Query {
    /// Reads a message.
    ///
    /// # Errors
    /// What to do with it instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        let message = Message::from_octets(bytes).map_err(|_| Reject::Drop)?;
        let header = message.header();
        if header.qr() {
            return Err(Reject::Drop);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(reject(&message, Rcode::NOTIMP));
        }
        let counts = message.header_counts();
        if counts.qdcount() != 1
            || counts.ancount() > MAX_ANSWERS
            || counts.nscount() > MAX_AUTHORITY
            || counts.arcount() > MAX_ADDITIONAL
        {
            return Err(reject(&message, Rcode::FORMERR));
        }
        Self::read(&message).ok_or_else(|| reject(&message, Rcode::FORMERR))
    }

    fn read(message: &Message<&[u8]>) -> Option<Self> {
        let header = message.header();
        let question = message.question().next()?.ok()?;
        let name: &ParsedName<&[u8]> = question.qname();
        let counts = message.header_counts();
        let mut edns = None;
        if counts.ancount() + counts.nscount() + counts.arcount() > 0 {
            // The walk over the sections finds records that are cut off.
            for section in [message.answer().ok()?, message.authority().ok()?] {
                for record in section {
                    record.ok()?;
                }
            }
            for record in message.additional().ok()? {
                let record = record.ok()?;
                if record.rtype() == Rtype::OPT {
                    let record = record.into_record::<domain::base::opt::Opt<_>>().ok()??;
                    let payload = record.class().to_int();
                    let mut subnet = None;
                    for option in record.data().iter::<ClientSubnet>() {
                        subnet = Some(option.ok()?);
                    }
                    edns = Some(Edns { payload, subnet });
                }
            }
        }
        Some(Self {
            id: header.id(),
            rd: header.rd(),
            cd: header.cd(),
            name: name.to_vec(),
            qtype: question.qtype(),
            qclass: question.qclass(),
            edns,
        })
    }
}

/// A header that tells an error and nothing else.
fn reject(message: &Message<&[u8]>, rcode: Rcode) -> Reject {
    let mut header = message.header();
    header.set_qr(true);
    header.set_aa(false);
    header.set_tc(false);
    header.set_ra(false);
    header.set_z(false);
    header.set_ad(false);
    header.set_rcode(rcode);
    let mut answer = header.as_slice().to_vec();
    answer.resize(HEADER, 0);
    Reject::Answer(answer)
}

/// The extended code of an EDNS answer without error.
pub(crate) const NO_EXTENDED_ERROR: OptRcode = OptRcode::NOERROR;

#[cfg(test)]
mod tests {
    use super::*;

    /// `n1.node.consul. IN A`, id 0x1234, recursion desired.
    const PLAIN: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02n1\x04node\x06consul\x00\x00\x01\x00\x01";
    /// The same with an OPT record: 1232 bytes, client subnet 198.18.0.0/24.
    const EDNS: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x02n1\x04node\x06consul\x00\x00\x01\x00\x01\
        \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0b\x00\x08\x00\x07\x00\x01\x18\x00\xc6\x12\x00";

    #[test]
    fn a_query_is_read() {
        let query = Query::parse(PLAIN).unwrap();
        assert_eq!(query.id, 0x1234);
        assert!(query.rd && !query.cd && query.edns.is_none());
        assert_eq!(query.name.to_string(), "n1.node.consul");
        assert_eq!((query.qtype, query.qclass), (Rtype::A, Class::IN));
    }

    #[test]
    fn edns_is_read() {
        let edns = Query::parse(EDNS).unwrap().edns.unwrap();
        assert_eq!(edns.payload, 1232);
        let subnet = edns.subnet.unwrap();
        assert_eq!(subnet.addr().to_string(), "198.18.0.0");
        assert_eq!(subnet.source_prefix_len(), 24);
    }

    #[test]
    fn answers_and_fragments_are_dropped() {
        assert_eq!(Query::parse(&PLAIN[..11]).unwrap_err(), Reject::Drop);
        let mut answer = PLAIN.to_vec();
        answer[2] |= 0x80;
        assert_eq!(Query::parse(&answer).unwrap_err(), Reject::Drop);
    }

    #[test]
    fn malformed_queries_are_told() {
        let rcode = |bytes: &[u8]| match Query::parse(bytes) {
            Err(Reject::Answer(answer)) => {
                assert_eq!(answer.len(), HEADER);
                assert_eq!(answer[..2], [0x12, 0x34]);
                assert_eq!(answer[2] & 0x80, 0x80);
                answer[3] & 0x0f
            }
            other => panic!("{other:?}"),
        };
        // Cut off in the question and in the OPT record, no question, two questions, a loop of
        // pointers, a client subnet longer than its address.
        assert_eq!(rcode(&PLAIN[..20]), 1);
        assert_eq!(rcode(&EDNS[..40]), 1);
        let with = |at: usize, value: u8, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            bytes
        };
        assert_eq!(rcode(&with(5, 0, PLAIN)), 1);
        assert_eq!(rcode(&with(5, 2, PLAIN)), 1);
        assert_eq!(rcode(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"), 1);
        assert_eq!(rcode(&with(EDNS.len() - 5, 200, EDNS)), 1);
        // Another kind of request: NOTIFY.
        assert_eq!(rcode(&with(2, 0x20, PLAIN)), 4);
    }
}
