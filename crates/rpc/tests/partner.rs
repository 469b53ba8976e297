//! Our sessions against another implementation of the protocol, both ways round.

use std::future::poll_fn;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use rpc::yamux::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use yamux::{Connection, Mode};

type Theirs = Connection<Compat<DuplexStream>>;

fn theirs(io: DuplexStream, mode: Mode) -> Theirs {
    Connection::new(io.compat(), yamux::Config::default(), mode)
}

fn payload(i: usize) -> Vec<u8> {
    (0..i * 3571 % 700_000 + 1).map(|k| (k * 31 + i) as u8).collect()
}

#[tokio::test]
async fn their_client_our_server() {
    let (a, b) = duplex(1 << 16);
    let session = Session::server(b);
    tokio::spawn(async move {
        while let Ok(mut stream) = session.accept().await {
            tokio::spawn(async move {
                let mut data = Vec::new();
                stream.read_to_end(&mut data).await.unwrap();
                stream.write_all(&data).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_u8().await;
            });
        }
    });
    // Their connection moves only while it is polled: one task opens and drives.
    let (opens, mut wanted) = mpsc::unbounded_channel::<oneshot::Sender<yamux::Stream>>();
    let mut connection = theirs(a, Mode::Client);
    tokio::spawn(async move {
        let mut waiting = std::collections::VecDeque::new();
        poll_fn(|cx| {
            while let std::task::Poll::Ready(Some(reply)) = wanted.poll_recv(cx) {
                waiting.push_back(reply);
            }
            while !waiting.is_empty() {
                match connection.poll_new_outbound(cx) {
                    std::task::Poll::Ready(Ok(stream)) => {
                        let _ = waiting.pop_front().unwrap().send(stream);
                    }
                    std::task::Poll::Ready(Err(_)) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => break,
                }
            }
            connection.poll_next_inbound(cx).map(|_| ())
        })
        .await;
    });
    let mut tasks = JoinSet::new();
    for i in 0..60 {
        let (reply, opened) = oneshot::channel();
        opens.send(reply).unwrap();
        tasks.spawn(async move {
            let mut stream = opened.await.unwrap();
            let data = payload(i);
            let (mut reader, mut writer) = (&mut stream).split();
            let mut back = Vec::new();
            let write = async {
                writer.write_all(&data).await.unwrap();
                writer.close().await.unwrap();
            };
            let (_, read) = futures::future::join(write, reader.read_to_end(&mut back)).await;
            read.unwrap();
            assert!(back == data, "stream {i}");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn our_client_their_server() {
    let (a, b) = duplex(1 << 16);
    let mut connection = theirs(b, Mode::Server);
    tokio::spawn(async move {
        while let Some(Ok(mut stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            tokio::spawn(async move {
                let mut data = Vec::new();
                stream.read_to_end(&mut data).await.unwrap();
                stream.write_all(&data).await.unwrap();
                stream.close().await.unwrap();
            });
        }
    });
    let session = Session::client(a);
    let mut tasks = JoinSet::new();
    for i in 0..60 {
        let session = session.clone();
        tasks.spawn(async move {
            let mut stream = session.open().await.unwrap();
            let data = payload(i);
            stream.write_all(&data).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert!(back == data, "stream {i}");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
