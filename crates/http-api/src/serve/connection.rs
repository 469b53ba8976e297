//! One connection: a codec while there is something to do, next to nothing while there is not.
//!
//! A query that blocks for minutes, or a client that keeps its connection for later, would hold the
//! codec with its buffers, more than all the rest of it. So such a connection is *parked*: the codec is
//! given up, the socket and the unfinished answer are kept. A plain answer is written as it is, and if the
//! next request is another plain query, that waits like the first (`plain`). For all else that comes a new
//! codec takes over; if an answer is due, it reads once more the head of a request like the one that
//! waits, and goes on from there.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{Method, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::plain::{self, Unsent};
use super::socket::{Socket, Stream, Traffic};
use crate::face::body::{ReplyBody, RequestBody};
use crate::face::{Face, Peer};

/// How long a client may take for the head of a request, from its first byte; one who does not even begin
/// is parked.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read at once from a socket that is parked, bytes: enough for the head of most queries.
const PEEK: usize = 2048;
/// The head of a request of HTTP/1.1 that keeps its connection.
const KEPT: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Serves a stream until the client ends it; after `stop`, until the request in progress is answered.
///
/// `head_size`: the largest head of a request, bytes.
pub async fn serve(
    stream: Stream,
    face: &Face,
    peer: Peer,
    head_size: usize,
    stop: &CancellationToken,
) -> Result<(), hyper::Error> {
    let mut stopped = pin!(stop.cancelled());
    let mut codec = http1::Builder::new();
    codec
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .title_case_headers(true)
        .max_buf_size(head_size);

    let mut socket = Socket::new(stream);
    let desk = Desk::new(face, peer, socket.traffic());
    while desk.park(&mut socket, stopped.as_mut()).await {
        let service = service_fn(|request| {
            desk.take(request);
            Answering(&desk)
        });
        let mut connection = Box::new(codec.serve_connection(TokioIo::new(socket), service));
        let mut stopping = false;
        let ended = std::future::poll_fn(|context| {
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(context) {
                    return Poll::Ready(Some(ended));
                }
                if stopping {
                    return Poll::Pending;
                }
                if stopped.as_mut().poll(context).is_pending() {
                    return if desk.blocks() { Poll::Ready(None) } else { Poll::Pending };
                }
                stopping = true;
                Pin::new(&mut *connection).graceful_shutdown();
            }
        });
        match ended.await {
            None => {}
            Some(Err(error)) if error.is_timeout() && !stopping && desk.idles() => {}
            Some(ended) => return ended,
        }
        let parts = connection.into_parts();
        socket = parts.io.into_inner();
        // An empty rest would keep the whole buffer that it is a rest of.
        socket.read_again(Bytes::copy_from_slice(&parts.read_buf));
    }
    Ok(())
}

/// An answer to come, or one that came while the connection was parked.
enum Pending<'a> {
    Asked(BoxFuture<'a, Response<ReplyBody>>),
    Told(Option<Response<ReplyBody>>),
}

impl Pending<'_> {
    /// The answer, once.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Response<ReplyBody>> {
        match self {
            Self::Asked(answer) => answer.as_mut().poll(context),
            Self::Told(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

/// A request that is not answered yet.
struct Waiting<'a> {
    answer: Pending<'a>,
    /// For a query that blocks, the head of a request that a codec treats like it.
    like: Option<&'static [u8]>,
}

/// What a connection is at.
enum Stage<'a> {
    /// There was no request yet, or a reply to it is on its way.
    Replying,
    /// A request waits for its answer.
    Waiting(Waiting<'a>),
}

/// Where the requests of a connection wait. Outlives the codecs; used by one task only.
struct Desk<'a> {
    face: &'a Face,
    peer: Peer,
    traffic: Arc<Traffic>,
    /// Set when a reply's body was given out whole.
    replied: Arc<AtomicBool>,
    stage: Mutex<Stage<'a>>,
}

impl<'a> Desk<'a> {
    fn new(face: &'a Face, peer: Peer, traffic: Arc<Traffic>) -> Self {
        let stage = Mutex::new(Stage::Replying);
        Self { face, peer, traffic, replied: Arc::default(), stage }
    }

    /// Takes a request from the codec; one that was taken before is known again.
    fn take(&self, request: Request<Incoming>) {
        self.traffic.request();
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Waiting(_)) {
            return;
        }
        let like = like(&request);
        let request = request.map(|body| {
            if body.is_end_stream() { RequestBody::Bytes(Bytes::new()) } else { RequestBody::Incoming(body) }
        });
        *stage = self.asked(request, like);
    }

    fn asked(&self, request: Request<RequestBody>, like: Option<&'static [u8]>) -> Stage<'a> {
        let answer = Pending::Asked(Box::pin(self.face.answer(request, self.peer)));
        Stage::Waiting(Waiting { answer, like })
    }

    fn poll_answer(&self, context: &mut Context<'_>) -> Poll<Response<Sending>> {
        let mut stage = self.stage.lock();
        let Stage::Waiting(waiting) = &mut *stage else { return Poll::Pending };
        let response = ready!(waiting.answer.poll(context));
        *stage = Stage::Replying;
        self.replied.store(false, Ordering::Relaxed);
        let replied = Arc::clone(&self.replied);
        Poll::Ready(response.map(|body| Sending { body, replied }))
    }

    /// Whether a query blocks, and the codec holds nothing of what was before it.
    fn blocks(&self) -> bool {
        let stage = self.stage.lock();
        matches!(&*stage, Stage::Waiting(Waiting { like: Some(_), .. })) && !self.traffic.stuck()
    }

    /// Whether the last reply is through, and nothing came after it.
    fn idles(&self) -> bool {
        let replying = matches!(*self.stage.lock(), Stage::Replying);
        replying && self.replied.load(Ordering::Relaxed) && !self.traffic.stuck() && !self.traffic.begun()
    }

    /// Rests without a codec until there is something to do for one: true; or until the connection has
    /// ended.
    async fn park(&self, socket: &mut Socket, mut stopped: Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut unsent = None;
        let like = std::future::poll_fn(|context| {
            loop {
                let parked = ready!(self.poll_parked(socket, stopped.as_mut(), &mut unsent, context));
                if let Parked::Ends(like) = parked {
                    return Poll::Ready(like);
                }
            }
        });
        let Some(like) = like.await else { return false };
        if !like.is_empty() {
            let mut again = BytesMut::with_capacity(like.len() + socket.again().len());
            again.extend_from_slice(like);
            again.extend_from_slice(socket.again());
            socket.read_again(again.freeze());
        }
        true
    }

    fn poll_parked(
        &self,
        socket: &mut Socket,
        mut stopped: Pin<&mut impl Future<Output = ()>>,
        unsent: &mut Option<Unsent>,
        context: &mut Context<'_>,
    ) -> Poll<Parked> {
        // Neither an end nor an error of a connection that rests is news to anybody.
        const END: Poll<Parked> = Poll::Ready(Parked::Ends(None));
        let codec = |like| Poll::Ready(Parked::Ends(Some(like)));

        if let Some(reply) = unsent {
            if ready!(reply.poll_write(socket, context)).is_err() {
                return END;
            }
            *unsent = None;
        }
        let mut stage = self.stage.lock();
        let like = match &mut *stage {
            Stage::Waiting(waiting) => {
                let like = waiting.like.unwrap_or_default();
                if let Poll::Ready(response) = waiting.answer.poll(context) {
                    *unsent = (like == KEPT).then(|| Unsent::of(&response)).flatten();
                    if unsent.is_some() {
                        *stage = Stage::Replying;
                        return Poll::Ready(Parked::Goes);
                    }
                    waiting.answer = Pending::Told(Some(response));
                    return codec(like);
                }
                Some(like)
            }
            Stage::Replying => None,
        };
        if stopped.as_mut().poll(context).is_ready() {
            // Somebody who waits gets an answer yet.
            return like.map_or(END, codec);
        }
        if !socket.again().is_empty() {
            // The client has sent more than the request that waits: that is read after it.
            return if like.is_none() { codec(&[]) } else { Poll::Pending };
        }
        let mut bytes = [0; PEEK];
        let mut out = ReadBuf::new(&mut bytes);
        if ready!(Pin::new(&mut *socket).poll_read(context, &mut out)).is_err() || out.filled().is_empty() {
            return END;
        }
        let filled = out.filled();
        if let Some(like) = like {
            socket.read_again(Bytes::copy_from_slice(filled));
            return codec(like);
        }
        let Some((request, len)) = plain::request(filled) else {
            socket.read_again(Bytes::copy_from_slice(filled));
            return codec(&[]);
        };
        socket.read_again(Bytes::copy_from_slice(&filled[len..]));
        self.traffic.request();
        *stage = self.asked(request, Some(KEPT));
        Poll::Ready(Parked::Goes)
    }
}

/// What a connection that was parked is at.
enum Parked {
    /// It stays parked, and there may be more to do.
    Goes,
    /// It is left to a codec, which reads this first; or to nobody.
    Ends(Option<&'static [u8]>),
}

/// For a query that may block, the head of a request with the same version and the same say on what
/// becomes of the connection: all that a codec needs to know of it when it writes the reply.
fn like(request: &Request<Incoming>) -> Option<&'static [u8]> {
    let bare = request.body().is_end_stream() && !request.headers().contains_key(header::UPGRADE);
    if *request.method() != Method::GET || !plain::may_block(request.uri()) || !bare {
        return None;
    }
    let says = |word: &str| {
        let all = request.headers().get_all(header::CONNECTION);
        all.iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
        })
    };
    match (request.version(), says("close"), says("keep-alive")) {
        (Version::HTTP_11, false, _) => Some(KEPT),
        (Version::HTTP_11, true, _) => Some(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
        (Version::HTTP_10, false, true) => Some(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (Version::HTTP_10, ..) => Some(b"GET / HTTP/1.0\r\n\r\n"),
        _ => None,
    }
}

/// The answer to the request that the desk has.
struct Answering<'d, 'a>(&'d Desk<'a>);

impl Future for Answering<'_, '_> {
    type Output = Result<Response<Sending>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_answer(context).map(Ok)
    }
}

/// The body of a reply, which tells the desk when it is through.
struct Sending {
    body: ReplyBody,
    replied: Arc<AtomicBool>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.replied.store(true, Ordering::Relaxed);
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
