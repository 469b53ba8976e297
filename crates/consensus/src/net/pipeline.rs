//! A stream of append requests and its answers, on one connection.
//!
//! The engine takes an answer for one to every request that ends at the same entry, and notes that the
//! follower has answered what was sent when the last of them was. But a request without entries, which tells how
//! far is committed, ends where the one before it did. Were the follower's answer to the first handed on
//! while the second is under way, the leader's lease would begin after the follower's, and a read would be confirmed by
//! an answer older than itself. So an answer waits for those to the requests without entries behind it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::RPCError;
use openraft::raft::StreamAppendResult;
use parking_lot::Mutex;
use tokio::io::{BufReader, ReadHalf, WriteHalf};

use super::BoxedIo;
use super::client::{Connection, expect, rpc_error, timed_out};
use super::frame;
use crate::types::TypeConfig;
use crate::types::alias::Append;

type Answer = StreamAppendResult<TypeConfig>;

/// A request under way.
struct Sent {
    at: Instant,
    has_entries: bool,
}

type Underway = Arc<Mutex<VecDeque<Sent>>>;

/// Sends every request of `input`, noting when.
async fn send_all<S>(
    mut write: WriteHalf<BoxedIo>,
    mut input: S,
    sent: Underway,
) -> io::Result<WriteHalf<BoxedIo>>
where
    S: Stream<Item = Append> + Send + Unpin + 'static,
{
    while let Some(request) = input.next().await {
        let bytes = frame::append_request(&request)?;
        sent.lock().push_back(Sent { at: Instant::now(), has_entries: !request.entries.is_empty() });
        frame::write(&mut write, &bytes).await?;
    }
    Ok(write)
}

/// Sends until the input ends, then gives the writing half back.
type Sender = BoxFuture<'static, io::Result<WriteHalf<BoxedIo>>>;

pub struct Pipeline<'s> {
    /// Where the connection goes if it ends cleanly.
    slot: &'s mut Option<Connection>,
    read: BufReader<ReadHalf<BoxedIo>>,
    sender: Option<Sender>,
    idle_writer: Option<WriteHalf<BoxedIo>>,
    sent: Underway,
    /// Answers that wait for others.
    held: VecDeque<Answer>,
    ready: VecDeque<Answer>,
    stall: Duration,
    ended: bool,
}

impl<'s> Pipeline<'s> {
    /// A follower that leaves a request unanswered for `stall` is given up. Requests are taken from `input` only
    /// while [`Pipeline::next`] is polled, so that none is sent unseen between an answer and its reader.
    pub fn start<S>(
        slot: &'s mut Option<Connection>,
        connection: Connection,
        input: S,
        stall: Duration,
    ) -> Self
    where
        S: Stream<Item = Append> + Send + Unpin + 'static,
    {
        let Connection { read, write } = connection;
        let sent = Underway::default();
        Self {
            slot,
            read,
            sender: Some(Box::pin(send_all(write, input, sent.clone()))),
            idle_writer: None,
            sent,
            held: VecDeque::new(),
            ready: VecDeque::new(),
            stall,
            ended: false,
        }
    }

    /// The next answer; `None` when the input ended and everything was answered.
    pub async fn next(&mut self) -> Option<Result<Answer, RPCError<TypeConfig>>> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Some(Ok(answer));
            }
            if self.ended {
                return None;
            }
            match self.advance().await {
                Ok(None) => self.ended = true,
                Ok(Some(answer)) if answer.is_ok() => {
                    self.held.push_back(answer);
                    if self.sent.lock().front().is_none_or(|next| next.has_entries) {
                        self.ready.append(&mut self.held);
                    }
                }
                // Those that waited are no longer worth anything to the engine: it asks anew.
                Ok(Some(refusal)) => {
                    self.ended = true;
                    return Some(Ok(refusal));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(rpc_error(&error)));
                }
            }
        }
    }

    async fn advance(&mut self) -> io::Result<Option<Answer>> {
        let answer = {
            let waiting = self.sent.clone();
            let stall = self.stall;
            let read = &mut self.read;
            let mut reading = std::pin::pin!(
                async {
                    loop {
                        match tokio::time::timeout(stall / 4, read.fill_buf_ready()).await {
                            Ok(ready) => {
                                ready?;
                                return tokio::time::timeout(stall, frame::read(read))
                                    .await
                                    .map_err(|_| timed_out())?;
                            }
                            // The limit counts only while an answer is due.
                            Err(_) if waiting.lock().front().is_none_or(|sent| sent.at.elapsed() < stall) => {
                            }
                            Err(_) => return Err(timed_out()),
                        }
                    }
                }
                .fuse()
            );
            loop {
                match &mut self.sender {
                    None => {
                        if self.sent.lock().is_empty() {
                            break None;
                        }
                        break Some(reading.as_mut().await?);
                    }
                    Some(sender) => tokio::select! {
                        biased;
                        done = sender => {
                            self.idle_writer = Some(done?);
                            self.sender = None;
                        }
                        answer = &mut reading => break Some(answer?),
                    },
                }
            }
        };
        let Some(answer) = answer else {
            return Ok(None);
        };
        let body = expect(frame::APPEND, answer)?;
        if self.sent.lock().pop_front().is_none() {
            return Err(frame::invalid("answer without a request"));
        }
        frame::read_append_answer(body).map(Some)
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        // Only a connection with nothing under way may serve the next call.
        if let Some(write) = self.idle_writer.take()
            && self.sent.lock().is_empty()
        {
            let (placeholder, _) = tokio::io::split(Box::new(tokio::io::empty()) as BoxedIo);
            let read = std::mem::replace(&mut self.read, BufReader::with_capacity(1, placeholder));
            *self.slot = Some(Connection { read, write });
        }
    }
}

trait FillBuf {
    async fn fill_buf_ready(&mut self) -> io::Result<()>;
}

impl FillBuf for BufReader<ReadHalf<BoxedIo>> {
    /// Waits until there is something to read, consuming nothing.
    async fn fill_buf_ready(&mut self) -> io::Result<()> {
        use tokio::io::AsyncBufReadExt;
        if self.fill_buf().await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::raft::StreamAppendError;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::ServerId;
    use crate::types::alias::{Entry, Vote, log_id};

    fn vote(term: u64) -> Vote {
        Vote::new_committed(term, ServerId::from_u128(1))
    }

    /// The entries after `from`, up to `to`.
    fn request(from: u64, to: u64) -> Append {
        Append {
            vote: vote(1),
            prev_log_id: Some(log_id(1, from)),
            leader_commit: None,
            entries: (from + 1..=to)
                .map(|index| Entry { log_id: log_id(1, index), payload: EntryPayload::Blank })
                .collect(),
        }
    }

    /// Reads requests until one ends at `to`.
    async fn receive(peer: &mut DuplexStream, count: usize) {
        for _ in 0..count {
            assert_eq!(frame::read(peer).await.unwrap().0, frame::APPEND);
        }
    }

    async fn answer(peer: &mut DuplexStream, result: Answer) {
        frame::write(peer, &frame::append_answer(&result).unwrap()).await.unwrap();
    }

    /// What the engine is told after the first of `requests` was answered, the others being under way, and after
    /// `second` was.
    async fn told(requests: Vec<Append>, first: Answer, second: Answer) -> (Vec<Answer>, Vec<Answer>) {
        let (near, mut peer) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(Box::new(near) as BoxedIo);
        let connection = Connection { read: BufReader::new(read), write };
        let mut slot = None;
        let count = requests.len();
        let input = futures::stream::iter(requests).chain(futures::stream::pending());
        let mut pipeline = Pipeline::start(&mut slot, connection, input, Duration::from_secs(60));
        let mut told = (Vec::new(), Vec::new());
        assert!(futures::poll!(std::pin::pin!(pipeline.next())).is_pending());
        receive(&mut peer, count).await;
        for (result, seen) in [(first, &mut told.0), (second, &mut told.1)] {
            answer(&mut peer, result).await;
            // What was written to memory is there: whatever there is to tell is told at once.
            while let std::task::Poll::Ready(Some(next)) = futures::poll!(std::pin::pin!(pipeline.next())) {
                seen.push(next.unwrap());
            }
        }
        told
    }

    fn matched(index: u64) -> Answer {
        Ok(Some(log_id(1, index)))
    }

    #[tokio::test]
    async fn an_answer_waits_for_that_to_the_request_without_entries_behind_it() {
        let told = told(vec![request(4, 5), request(5, 5)], matched(5), matched(5)).await;
        assert_eq!(told, (vec![], vec![matched(5), matched(5)]));
    }

    #[tokio::test]
    async fn an_answer_does_not_wait_for_that_to_entries() {
        let told = told(vec![request(4, 5), request(5, 7)], matched(5), matched(7)).await;
        assert_eq!(told, (vec![matched(5)], vec![matched(7)]));
    }

    #[tokio::test]
    async fn an_answer_that_waited_is_worth_nothing_when_the_leader_is_no_more() {
        let refused = || Err(StreamAppendError::HigherVote(vote(2)));
        let told = told(vec![request(4, 5), request(5, 5)], matched(5), refused()).await;
        assert_eq!(told, (vec![], vec![refused()]));
    }
}
