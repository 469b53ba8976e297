//! The face on real sockets, and recursors on others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Catalog, Seen, config, face, instance, question, read};
use dns::{Config, Face, Sockets};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Ttl};
use domain::rdata::A;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

async fn start(face: Face, host: &str) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let sockets = Sockets::bind(&[format!("{host}:0").parse().unwrap()]).await.unwrap();
    let address = sockets.addresses()[0];
    let stop = CancellationToken::new();
    let task = tokio::spawn(sockets.serve(face, stop.clone()));
    (address, stop, task)
}

async fn by_udp(server: SocketAddr, message: &[u8]) -> Seen {
    let socket = UdpSocket::bind("127.29.1.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(message).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(LIMIT, socket.recv(&mut buffer)).await.unwrap().unwrap();
    read(&buffer[..length])
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

async fn next(stream: &mut TcpStream) -> Vec<u8> {
    let length = timeout(LIMIT, stream.read_u16()).await.unwrap().unwrap();
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

fn web() -> Catalog {
    Catalog::with([instance("dc1", "web", "n1", "10.1.0.1", 80)])
}

#[tokio::test]
async fn datagrams_and_connections() {
    let (server, stop, task) = start(face(config(), web()), "127.29.1.2").await;
    let message = question("web.service.consul", Rtype::A, None);
    assert_eq!(by_udp(server, &message).await.answer, ["web.service.consul 0 A 10.1.0.1"]);
    let mut stream = TcpStream::connect(server).await.unwrap();
    // Several at once, the last one in two pieces.
    let many = [framed(&message), framed(&message), framed(&message)].concat();
    let (first, second) = many.split_at(many.len() - 5);
    stream.write_all(first).await.unwrap();
    for _ in 0..2 {
        assert_eq!(read(&next(&mut stream).await).answer.len(), 1);
    }
    stream.write_all(second).await.unwrap();
    assert_eq!(read(&next(&mut stream).await).answer.len(), 1);
    stop.cancel();
    timeout(LIMIT, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_that_take_time_hold_nobody_up() {
    let gate = Arc::new(Semaphore::new(0));
    let catalog = Catalog { gate: Some(gate.clone()), ..web() };
    let (server, _stop, _task) = start(face(config(), catalog), "127.29.1.3").await;
    let socket = UdpSocket::bind("127.29.1.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&question("web.service.consul", Rtype::A, None)).await.unwrap();
    // What needs no lookup is answered meanwhile.
    assert_eq!(by_udp(server, &question("0a000001.addr.consul", Rtype::A, None)).await.answer.len(), 1);
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&framed(&question("web.service.consul", Rtype::A, None))).await.unwrap();
    stream.write_all(&framed(&question("0a000001.addr.consul", Rtype::A, None))).await.unwrap();
    assert!(read(&next(&mut stream).await).answer[0].starts_with("0a000001"));
    gate.add_permits(2);
    assert!(read(&next(&mut stream).await).answer[0].starts_with("web"));
    let mut buffer = [0; 512];
    let length = timeout(LIMIT, socket.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(read(&buffer[..length]).answer.len(), 1);
}

#[tokio::test]
async fn a_taken_address_is_told() {
    let taken = TcpListener::bind("127.29.1.4:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let Err(error) = Sockets::bind(&[address]).await else { panic!("bound twice") };
    assert!(error.to_string().contains(&format!("tcp {address}")), "{error}");
}

/// A server of other names: answers with one address, with a failure, or not at all.
async fn recursor(host: &str, behaviour: Option<Rcode>) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    let answer = move |query: &[u8]| {
        let query = Message::from_octets(query).unwrap();
        let mut answer =
            MessageBuilder::new_vec().start_answer(&query, behaviour.unwrap_or(Rcode::NOERROR)).unwrap();
        if behaviour == Some(Rcode::NOERROR) {
            let name = query.sole_question().unwrap().into_qname();
            answer.push((name, Class::IN, Ttl::from_secs(77), A::from_octets(192, 0, 2, 1))).unwrap();
        }
        answer.finish()
    };
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            if behaviour.is_some() {
                // An answer to somebody else's query comes first.
                let mut wrong = answer(&buffer[..length]);
                wrong[0] ^= 0xff;
                socket.send_to(&wrong, from).await.unwrap();
                socket.send_to(&answer(&buffer[..length]), from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let query = next(&mut stream).await;
            if behaviour.is_some() {
                stream.write_all(&framed(&answer(&query))).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn other_names_go_to_the_first_recursor_that_answers() {
    let good = recursor("127.29.1.10", Some(Rcode::NOERROR)).await;
    let failing = recursor("127.29.1.11", Some(Rcode::SERVFAIL)).await;
    let silent = recursor("127.29.1.12", None).await;
    let lacking = recursor("127.29.1.13", Some(Rcode::NXDOMAIN)).await;
    let with = |recursors: &[SocketAddr]| {
        let settings = Config {
            recursors: recursors.to_vec(),
            recursor_timeout: Duration::from_millis(300),
            ..config()
        };
        let catalog = Catalog::with([
            instance("dc1", "ext", "named", "www.example.net", 443),
            instance("dc1", "web", "n1", "10.1.0.1", 80),
        ]);
        start(face(settings, catalog), "127.29.1.5")
    };
    let (server, ..) = with(&[failing, silent, good, lacking]).await;
    let foreign = question("www.example.com", Rtype::A, None);
    let seen = by_udp(server, &foreign).await;
    assert_eq!((seen.answer[0].as_str(), seen.flags.as_str()), ("www.example.com 77 A 192.0.2.1", "RD"));
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&framed(&foreign)).await.unwrap();
    assert_eq!(read(&next(&mut stream).await).answer.len(), 1);
    // Names that ours point to.
    let seen = by_udp(server, &question("named.node.consul", Rtype::A, None)).await;
    assert_eq!(
        (seen.answer, seen.flags.as_str()),
        (
            vec![
                "named.node.consul 0 CNAME www.example.net".to_owned(),
                "www.example.net 77 A 192.0.2.1".to_owned()
            ],
            "AA RD RA"
        )
    );
    let seen = by_udp(server, &question("ext.service.consul", Rtype::SRV, None)).await;
    assert_eq!(seen.additional, ["www.example.net 0 A 192.0.2.1"]);
    let seen = by_udp(server, &question("4.3.2.1.in-addr.arpa", Rtype::PTR, None)).await;
    assert_eq!(seen.rcode, "NOERROR");

    let (server, ..) = with(&[failing, lacking, good]).await;
    assert_eq!(by_udp(server, &foreign).await.rcode, "NXDOMAIN");
    let (server, ..) = with(&[failing, silent]).await;
    let seen = by_udp(server, &foreign).await;
    assert_eq!((seen.rcode.as_str(), seen.flags.as_str()), ("SERVFAIL", "RD RA"));
}
