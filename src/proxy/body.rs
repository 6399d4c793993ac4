//! The body of an answer: our own few bytes, or the target's stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{BoxError, oldest::Opening};
use crate::token::{Caller, Mint};

/// A chunk of this size is worth a write of its own; what is held back never grows beyond the sum of two.
const WORTH_A_WRITE: usize = 16 * 1024;

/// The body of an answer. Nothing is boxed that every call would pay for; timers are made when a stream first waits.
pub struct Body(Kind);

#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for every call, a move is none")]
enum Kind {
    Whole(Option<Bytes>),
    Stream(Stream),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Whole(_) => "Body::Whole",
            Kind::Stream(_) => "Body::Stream",
        })
    }
}

/// The target was silent for longer than the operator allows.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the MCP server was silent for too long")]
struct Silent;

impl Body {
    /// These bytes.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The target's stream. It fails when nothing came for `idle`, and ends quietly where `end` says so.
    pub(super) fn stream(mut stream: Stream, idle: Duration, end: Option<End>) -> Self {
        stream.idle = idle;
        stream.end = end;
        Self(Kind::Stream(stream))
    }
}

/// What ends a stream of events that neither side ends.
pub(super) struct End {
    /// Together with the Grant of this Caller.
    pub(super) with: (Mint, Arc<Caller>),
    /// And at this time.
    pub(super) at: Option<Instant>,
}

/// A connection that has to be driven for a body to come in.
pub(super) trait Carrier: Send {
    /// Moves bytes as far as they go, and asks to be woken when there are more.
    fn drive(&mut self, cx: &mut Context<'_>);

    /// The body is complete: the connection is free for another.
    fn arrive(&mut self);
}

/// Passes the target's frames on, several small ones as one.
///
/// Each frame would become a write of its own, which makes bursts of small events many times dearer than they are
/// (dependencies §8). So a small frame is held while its connection has more at hand: a line of ours is driven on the
/// spot, the task of another connection gets one turn. No timer is involved, and a lone event waits for no more.
pub(super) struct Stream {
    incoming: Incoming,
    carrier: Option<Box<dyn Carrier>>,
    held: Bytes,
    more: BytesMut,
    /// What came behind the held data and is no data: trailers, the end, an error.
    next: Option<Next>,
    has_yielded: bool,
    idle: Duration,
    end: Option<End>,
    timers: Option<Box<Timers>>,
    /// Where the first event may have to be written anew.
    opening: Option<Box<Opening>>,
}

enum Next {
    Trailers(HeaderMap),
    End,
    Failed(BoxError),
}

/// Made when a stream first waits, so that an answer that is there at once pays for no timer.
struct Timers {
    idle: Pin<Box<Sleep>>,
    /// When data was seen last; the timer is only moved when it fires.
    seen: Option<Instant>,
    until: Option<Pin<Box<Sleep>>>,
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Timers {
    fn new(idle: Duration, end: Option<End>) -> Self {
        let idle = Box::pin(tokio::time::sleep(idle));
        let Some(End { with: (mint, caller), at }) = end else {
            return Self { idle, seen: None, until: None, revoked: None };
        };
        let until = at.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { idle, seen: None, until, revoked: Some(mint.revoked(&caller)) }
    }

    /// Whether the stream has to end although neither side ends it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        match &mut self.revoked {
            Some(revoked) => revoked.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Stream {
    pub(super) fn new(incoming: Incoming, carrier: Option<Box<dyn Carrier>>) -> Self {
        Self {
            incoming,
            carrier,
            held: Bytes::new(),
            more: BytesMut::new(),
            next: None,
            has_yielded: false,
            idle: Duration::MAX,
            end: None,
            timers: None,
            opening: None,
        }
    }

    /// Looks at the first event of the oldest wire.
    pub(super) fn opened_by(mut self, opening: Option<Box<Opening>>) -> Self {
        self.opening = opening;
        self
    }

    /// What of `data` may go on by now.
    fn admit(&mut self, data: Bytes) -> Result<Bytes, BoxError> {
        let Some(opening) = &mut self.opening else { return Ok(data) };
        let (data, is_known) = opening.pass(&data).inspect_err(|error| tracing::warn!(%error, "a stream was cut"))?;
        if is_known {
            self.opening = None;
        }
        Ok(data)
    }

    /// The next frame that is here, or comes in by driving the connection.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = Pin::new(&mut self.incoming);
        let Some(carrier) = &mut self.carrier else { return http_body::Body::poll_frame(incoming, cx) };
        // The connection bears the waker: what the other end of its channel learns, it learns in `drive`.
        let mut deaf = Context::from_waker(Waker::noop());
        let polled = match http_body::Body::poll_frame(incoming, &mut deaf) {
            Poll::Pending => {
                carrier.drive(cx);
                http_body::Body::poll_frame(Pin::new(&mut self.incoming), &mut deaf)
            }
            polled => polled,
        };
        if matches!(polled, Poll::Ready(None)) || http_body::Body::is_end_stream(&self.incoming) {
            carrier.arrive();
            self.carrier = None;
        }
        polled
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(next) = self.next.take() {
                return match next {
                    Next::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    // What came before the failure is still to be written: the writer flushes where it has to wait.
                    Next::Failed(error) if !self.has_yielded => {
                        self.has_yielded = true;
                        self.next = Some(Next::Failed(error));
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Next::Failed(error) => Poll::Ready(Some(Err(error))),
                    Next::End => {
                        self.next = Some(Next::End);
                        Poll::Ready(None)
                    }
                };
            }
            let next = match self.poll_incoming(cx) {
                Poll::Pending if self.is_holding() => {
                    if self.has_yielded || self.carrier.is_some() {
                        return self.release();
                    }
                    self.has_yielded = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => match self.poll_timers(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(next) => next,
                },
                Poll::Ready(None) => {
                    if let Some(mut opening) = self.opening.take() {
                        self.hold(opening.rest());
                    }
                    Next::End
                }
                Poll::Ready(Some(Err(error))) => Next::Failed(error.into()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => match self.admit(data) {
                        Ok(data) => {
                            self.hold(data);
                            if self.is_enough() && self.opening.is_none() {
                                return self.release();
                            }
                            continue;
                        }
                        Err(error) => Next::Failed(error),
                    },
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => Next::Trailers(trailers),
                        Err(_) => continue,
                    },
                },
            };
            self.next = Some(next);
            if self.is_holding() {
                return self.release();
            }
        }
    }

    fn is_holding(&self) -> bool {
        !self.held.is_empty() || !self.more.is_empty()
    }

    fn hold(&mut self, data: Bytes) {
        self.has_yielded = false;
        if let Some(timers) = &mut self.timers {
            timers.seen = Some(Instant::now());
        }
        if !self.is_holding() {
            self.held = data;
            return;
        }
        if self.more.is_empty() {
            self.more.reserve(self.held.len() + data.len().max(1024));
            self.more.extend_from_slice(&std::mem::take(&mut self.held));
        }
        self.more.extend_from_slice(&data);
    }

    /// Whether waiting for more would gain nothing: there is plenty, or the body is complete.
    fn is_enough(&self) -> bool {
        self.held.len().max(self.more.len()) >= WORTH_A_WRITE || http_body::Body::is_end_stream(&self.incoming)
    }

    fn release(&mut self) -> Polled {
        self.has_yielded = false;
        let data =
            if self.more.is_empty() { std::mem::take(&mut self.held) } else { std::mem::take(&mut self.more).freeze() };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let (idle, end) = (self.idle, &mut self.end);
        let timers = self.timers.get_or_insert_with(|| Box::new(Timers::new(idle, end.take())));
        if timers.poll_end(cx).is_ready() {
            return Poll::Ready(Next::End);
        }
        while timers.idle.as_mut().poll(cx).is_ready() {
            match timers.seen.take() {
                Some(seen) => timers.idle.as_mut().reset(seen + idle),
                None => return Poll::Ready(Next::Failed(Silent.into())),
            }
        }
        Poll::Pending
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(stream) => match stream.next {
                Some(Next::End) => true,
                Some(_) => false,
                None => !stream.is_holding() && stream.opening.is_none() && stream.incoming.is_end_stream(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            // Before the first poll nothing is held, and afterwards nobody asks.
            Kind::Stream(stream) if !stream.is_holding() && stream.opening.is_none() => stream.incoming.size_hint(),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}
