//! The first bytes of a connection.
//!
//! ```text
//! hello   := "PCRAFT" version u16 | sender id 16 | receiver id 16 | length u8 | datacenter
//! answer  := 0 u8  |  1 u8, length u16, reason
//! ```

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BoxedIo, Context};
use crate::types::ServerId;

const MAGIC: &[u8; 6] = b"PCRAFT";
const VERSION: u16 = 1;
const TIMEOUT: Duration = Duration::from_secs(5);

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// Sender's side.
pub async fn introduce(io: &mut BoxedIo, context: &Context, to: ServerId) -> io::Result<()> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(context.me.as_bytes());
    out.extend_from_slice(to.as_bytes());
    let dc = context.datacenter.as_bytes();
    let length = u8::try_from(dc.len()).map_err(|_| io::Error::other("datacenter name is too long"))?;
    out.push(length);
    out.extend_from_slice(dc);
    let answer = async {
        io.write_all(&out).await?;
        io.flush().await?;
        if io.read_u8().await? == 0 {
            return Ok(());
        }
        let length = io.read_u16_le().await?;
        let mut reason = vec![0; usize::from(length)];
        io.read_exact(&mut reason).await?;
        Err(refused(format!("peer refused the connection: {}", String::from_utf8_lossy(&reason))))
    };
    tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Receiver's side; says who calls.
pub async fn receive(io: &mut BoxedIo, context: &Context) -> io::Result<ServerId> {
    let exchange = async {
        let verdict = check(io, context).await?;
        match verdict {
            Ok(from) => {
                io.write_all(&[0]).await?;
                io.flush().await?;
                Ok(from)
            }
            Err(reason) => {
                let mut out = vec![1];
                out.extend_from_slice(&(reason.len() as u16).to_le_bytes());
                out.extend_from_slice(reason.as_bytes());
                io.write_all(&out).await?;
                io.flush().await?;
                Err(refused(reason))
            }
        }
    };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn check(io: &mut BoxedIo, context: &Context) -> io::Result<Result<ServerId, String>> {
    let mut head = [0u8; 8 + 16 + 16 + 1];
    io.read_exact(&mut head).await?;
    let mut dc = vec![0; usize::from(head[40])];
    io.read_exact(&mut dc).await?;
    if &head[..6] != MAGIC {
        return Ok(Err("not a raft connection of this program".into()));
    }
    let version = u16::from_le_bytes([head[6], head[7]]);
    if version != VERSION {
        return Ok(Err(format!("raft protocol {version} is not spoken here, {VERSION} is")));
    }
    let id = |at: usize| {
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&head[at..at + 16]);
        ServerId::from_bytes(bytes)
    };
    let (from, to) = (id(8), id(24));
    if dc != context.datacenter.as_bytes() {
        return Ok(Err(format!("this is datacenter {}", context.datacenter)));
    }
    if to != context.me {
        return Ok(Err(format!("this is server {}", context.me)));
    }
    Ok(Ok(from))
}
