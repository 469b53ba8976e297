use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::core::{Attempt, Core};
use super::frame::Reason;
use super::gather::Gather;
use super::{Config, SessionError, Stream};

/// Read at once from a connection.
const READ_SIZE: usize = 64 * 1024;
/// Reads in a row before the driver lets others run.
const READS_PER_TURN: usize = 16;

thread_local! {
    // Input is digested before the driver yields, so one buffer serves all sessions of a thread.
    static INPUT: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

pub(super) struct Shared {
    core: Mutex<Core>,
    driver: AtomicWaker,
}

impl Shared {
    /// Runs `f` on the core and wakes whom that concerns.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.lock();
        let result = f(&mut core);
        let tell_driver = core.tell_driver();
        let wakes = core.take_wakes();
        drop(core);
        if tell_driver {
            self.driver.wake();
        }
        for waker in wakes {
            waker.wake();
        }
        result
    }
}

/// A multiplexed connection. Clones are handles on the same; when the last handle and the last
/// stream are gone, the connection is closed.
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// The session and the task that moves its bytes, for the caller to spawn.
    pub fn new<IO>(io: IO, client: bool, config: Config) -> (Session, Driver<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut core = Core::new(client, config.clone());
        core.handles = 1;
        let shared = Arc::new(Shared { core: Mutex::new(core), driver: AtomicWaker::new() });
        let driver = Driver {
            io,
            shared: Arc::clone(&shared),
            timer: Box::pin(sleep(config.keepalive)),
            stall: None,
            awaits_pong: false,
            config,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            gather: Gather::default(),
        };
        (Session { shared }, driver)
    }

    /// The side that dialled, with default settings and its driver spawned.
    pub fn client<IO>(io: IO) -> Session
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (session, driver) = Session::new(io, true, Config::default());
        tokio::spawn(driver);
        session
    }

    /// The side that accepted, with default settings and its driver spawned.
    pub fn server<IO>(io: IO) -> Session
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (session, driver) = Session::new(io, false, Config::default());
        tokio::spawn(driver);
        session
    }

    /// Opens a stream. The peer hears of it with its first data. Waits while too many streams
    /// are not acknowledged.
    pub async fn open(&self) -> Result<Stream, SessionError> {
        poll_fn(|cx| self.poll_open(cx)).await
    }

    pub fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Result<Stream, SessionError>> {
        match self.shared.with(|core| core.open(cx.waker())) {
            Ok(Attempt::Done(id)) => Poll::Ready(Ok(Stream::new(Arc::clone(&self.shared), id))),
            Ok(Attempt::Wait) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The next stream that the peer opened. One task at a time may wait here.
    pub async fn accept(&self) -> Result<Stream, SessionError> {
        poll_fn(|cx| match self.shared.with(|core| core.accept(cx.waker())) {
            Ok(Attempt::Done(id)) => Poll::Ready(Ok(Stream::new(Arc::clone(&self.shared), id))),
            Ok(Attempt::Wait) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }

    /// Tells the peer to open no more streams; those it opens nevertheless are reset.
    pub fn go_away(&self) {
        self.shared.with(|core| core.go_away(Reason::Normal));
    }

    /// Ends the session once what is already written has been sent.
    pub fn close(&self) {
        self.shared.with(Core::close);
    }

    /// Why no stream can be opened any more, if so.
    pub fn unusable(&self) -> Option<SessionError> {
        self.shared.with(|core| core.may_open().err())
    }

    /// Streams that live now.
    pub fn stream_count(&self) -> usize {
        self.shared.with(|core| core.stream_count())
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        self.shared.with(|core| core.handles += 1);
        Session { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.with(Core::release_handle);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Moves bytes between a connection and its session, sends keepalive pings, notices when the peer
/// does not take or answer anything. Ends with the session and yields the reason. When it is
/// dropped, the session ends.
pub struct Driver<IO> {
    io: IO,
    shared: Arc<Shared>,
    config: Config,
    timer: Pin<Box<Sleep>>,
    awaits_pong: bool,
    /// Runs while the connection takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    gather: Gather,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    /// Ready only when the session is over.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<SessionError> {
        for _ in 0..READS_PER_TURN {
            if !self.shared.with(Core::may_read_or_pause) {
                return Poll::Pending;
            }
            let outcome = INPUT.with_borrow_mut(|input| {
                let mut buf = ReadBuf::new(input);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))
                    .map_err(|error| SessionError::Io(error.to_string()))?;
                if buf.filled().is_empty() {
                    return Poll::Ready(Err(SessionError::Eof));
                }
                Poll::Ready(self.shared.with(|core| core.receive(buf.filled())))
            });
            if let Err(error) = ready!(outcome) {
                return Poll::Ready(error);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether to write later, when the other tasks that are ready have run.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        let pending = if self.written == self.output.len() { self.shared.core.lock().pending() } else { 0 };
        if pending == 0 || !self.gather.waits(pending) {
            return false;
        }
        // Its first poll asks the runtime to wake this task then.
        pin!(tokio::task::yield_now()).poll(cx).is_pending()
    }

    /// Ready when everything is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            if self.written == self.output.len() {
                self.output.clear();
                self.written = 0;
                self.shared.with(|core| core.take_output(&mut self.output));
                if self.output.is_empty() {
                    break;
                }
            }
            match Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(SessionError::Io("connection takes no data".into())));
                }
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.unflushed = true;
                    self.stall = None;
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(SessionError::Io(error.to_string())));
                }
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(SessionError::Io(error.to_string())));
                }
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        self.stall = None;
        Poll::Ready(Ok(()))
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.config.write_timeout)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(SessionError::WriteTimeout))
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<SessionError> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let next = if self.awaits_pong {
                if self.shared.with(|core| core.ping_unanswered()) {
                    return Poll::Ready(SessionError::Keepalive);
                }
                self.config.keepalive.saturating_sub(self.config.ping_timeout)
            } else {
                self.shared.with(Core::ping);
                self.config.ping_timeout
            };
            self.awaits_pong = !self.awaits_pong;
            self.timer = Box::pin(sleep_until(Instant::now() + next));
        }
        Poll::Pending
    }

    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<SessionError> {
        if let Poll::Ready(error) = self.poll_keepalive(cx) {
            return Poll::Ready(error);
        }
        if let Poll::Ready(error) = self.poll_read(cx) {
            if matches!(error, SessionError::Protocol(_)) {
                self.shared.with(|core| core.go_away(Reason::Protocol));
            }
            // The peer may still learn what was to be said; whether it does is its affair.
            let _ = self.poll_write(cx);
            return Poll::Ready(error);
        }
        if self.gather(cx) {
            return Poll::Pending;
        }
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) if self.shared.core.lock().closing => Poll::Ready(SessionError::Closed),
            Poll::Ready(Err(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Driver<IO> {
    type Output = SessionError;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SessionError> {
        let this = self.get_mut();
        this.shared.driver.register(cx.waker());
        let error = ready!(this.poll_session(cx));
        this.shared.with(|core| core.end(error.clone()));
        // Closing sends the end of the stream; a connection that cannot take it now is cut.
        let _ = Pin::new(&mut this.io).poll_shutdown(cx);
        Poll::Ready(error)
    }
}

impl<IO> Drop for Driver<IO> {
    fn drop(&mut self) {
        self.shared.with(|core| core.end(SessionError::Closed));
    }
}

impl<IO> fmt::Debug for Driver<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}
