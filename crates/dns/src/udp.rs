//! Queries by datagram.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::face::{Face, Transport};

/// Largest query taken.
const MAX_QUERY: usize = 4096;
/// Rest after an error of the socket itself, so that a lasting one does not burn the processor.
const AFTER_ERROR: Duration = Duration::from_millis(10);

pub async fn serve(
    socket: Arc<UdpSocket>,
    face: Arc<Face>,
    waiting: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let work = async {
        let mut buffer = vec![0; MAX_QUERY];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, client)) => {
                    one(&socket, &face, &buffer[..length], client, &waiting, &tasks, &stop).await;
                }
                Err(error) => {
                    // Also what ICMP tells of an earlier answer.
                    tracing::debug!(target: "agent.dns", error = %error, "udp receive failed");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Most answers are ready at once and need no task; the others wait in one of their own.
async fn one(
    socket: &Arc<UdpSocket>,
    face: &Arc<Face>,
    message: &[u8],
    client: SocketAddr,
    waiting: &Arc<Semaphore>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let answer = {
        let (face, message) = (face.clone(), message.to_vec());
        async move { face.answer(&message, client, Transport::Udp).await }
    };
    let mut answer: BoxFuture<'static, Option<Vec<u8>>> = Box::pin(answer);
    if let Some(ready) = (&mut answer).now_or_never() {
        if let Some(bytes) = ready {
            send(socket, &bytes, client).await;
        }
        return;
    }
    let Ok(permit) = waiting.clone().try_acquire_owned() else {
        metrics::counter!("dns.dropped").increment(1);
        return;
    };
    let (socket, stop) = (socket.clone(), stop.clone());
    tasks.spawn(async move {
        let _permit = permit;
        tokio::select! {
            answer = answer => {
                if let Some(bytes) = answer {
                    send(&socket, &bytes, client).await;
                }
            }
            () = stop.cancelled() => {}
        }
    });
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, client).await {
        tracing::debug!(target: "agent.dns", client = %client, error = %error, "udp send failed");
    }
}
