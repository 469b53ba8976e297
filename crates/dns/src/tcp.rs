//! Queries by connection: messages after their length (RFC 1035 section 4.2.2), several at a time
//! (RFC 7766 section 6.2.1.1), answered as they become ready.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::face::{Face, Transport};

/// A connection on which nothing is asked or answered ends.
const IDLE: Duration = Duration::from_secs(8);
/// A client that takes nothing is let go.
const WRITE: Duration = Duration::from_secs(2);
/// Queries of one connection at a time; the next ones stay unread.
const PIPELINE: usize = 32;
const AFTER_ERROR: Duration = Duration::from_millis(10);

pub async fn serve(
    listener: TcpListener,
    face: Arc<Face>,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let work = async {
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, client)) => {
                    let (face, stop) = (face.clone(), stop.clone());
                    tasks.spawn(async move {
                        let _permit = permit;
                        tokio::select! {
                            ended = connection(stream, client, &face) => if let Err(error) = ended {
                                tracing::debug!(target: "agent.dns", client = %client, error = %error, "tcp connection failed");
                            },
                            () = stop.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(target: "agent.dns", error = %error, "tcp accept failed");
                    sleep(AFTER_ERROR).await;
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

async fn connection(mut stream: TcpStream, client: SocketAddr, face: &Face) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    let mut pending = FuturesUnordered::new();
    let mut open = true;
    loop {
        while pending.len() < PIPELINE {
            let Some(message) = take_message(&mut buffer) else { break };
            pending.push(async move { face.answer(&message, client, Transport::Tcp).await });
        }
        if !open && pending.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        tokio::select! {
            Some(answer) = pending.next(), if !pending.is_empty() => frame(&mut out, answer),
            read = stream.read_buf(&mut buffer), if open && pending.len() < PIPELINE => {
                open = read? > 0;
                continue;
            }
            () = sleep(IDLE), if pending.is_empty() => return Ok(()),
        }
        // What is ready by now goes with it.
        while let Some(Some(answer)) = futures::FutureExt::now_or_never(pending.next()) {
            frame(&mut out, answer);
        }
        timeout(WRITE, stream.write_all(&out)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

fn frame(out: &mut Vec<u8>, answer: Option<Vec<u8>>) {
    if let Some(answer) = answer
        && let Ok(length) = u16::try_from(answer.len())
    {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&answer);
    }
}

/// The first message, if it is whole.
fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = usize::from(u16::from_be_bytes([*buffer.first()?, *buffer.get(1)?]));
    if buffer.len() < 2 + length {
        return None;
    }
    buffer.advance(2);
    Some(buffer.split_to(length).freeze())
}
