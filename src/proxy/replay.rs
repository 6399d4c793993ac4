//! The body of a request whose first bytes may have been looked at: it says them again.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// What was read, then the rest.
pub(super) struct Replay<B> {
    read: Option<Bytes>,
    /// None once everything was read.
    rest: Option<B>,
}

impl<B> Replay<B> {
    /// Nothing was looked at.
    pub(super) const fn untouched(body: B) -> Self {
        Self { read: None, rest: Some(body) }
    }

    /// `read` was; `rest` follows.
    pub(super) fn of(read: Bytes, rest: Option<B>) -> Self {
        Self { read: Some(read).filter(|bytes| !bytes.is_empty()), rest }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(bytes) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        self.rest.as_mut().map_or(Poll::Ready(None), |rest| Pin::new(rest).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.rest.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint);
        let more = self.read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + more);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + more);
        }
        hint
    }
}
