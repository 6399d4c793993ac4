//! The oldest wire (MCP 2024-11-05, HTTP+SSE): a `GET` opens the one stream, and its first event, `endpoint`, names the
//! address to which the client posts.
//!
//! That address is the target's, and is of no use out here: `/message?sessionId=…` would be looked for at the root of our
//! origin, and an absolute one would send the client, with our token in hand, to where only we may go. So the event is
//! the one thing in an answer that is written anew (protocol §1): it names an address below the Resource, in which the
//! target's own is sealed for the person who opened the stream. Nobody else can post there (SES-2), nobody can make one up
//! (S28), and it holds on every replica, for nothing is remembered.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header, response::Parts, uri::PathAndQuery};
use url::Url;

use super::{challenge::Refusal, session::MCP_SESSION_ID};
use crate::{
    domain::Resource,
    token::{Caller, Mint},
};

/// The first event is held back until it is whole, but never more than this: an `endpoint` is short.
const LONGEST: usize = 8 * 1024;
/// The first segment below a Resource behind which a sealed address stands.
const DOOR: &str = "/~endpoint/";

/// The sealed address in what a request asks for below a Resource.
pub(super) fn sealed_in(rest: &str) -> Option<&str> {
    rest.strip_prefix(DOOR)
}

/// Where at the target a message goes that was posted to a sealed address.
///
/// # Errors
/// [`Refusal::NoSession`], if it is not this person's, or nothing of ours.
pub(super) fn aim(mint: &Mint, caller: &Caller, sealed: &str) -> Result<PathAndQuery, Refusal> {
    mint.open_pass(caller, sealed).and_then(|address| address.parse().ok()).ok_or(Refusal::NoSession)
}

/// Whether the answer to a `GET` may begin with an `endpoint`: no other wire has such a stream without a session.
pub(super) fn may_be(answer: &Parts) -> bool {
    answer.status == StatusCode::OK
        && !answer.headers.contains_key(MCP_SESSION_ID)
        && !answer.headers.contains_key(header::CONTENT_ENCODING)
        && !answer.headers.contains_key(header::CONTENT_LENGTH)
}

/// The target names an endpoint that is neither its own nor ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server's endpoint event names another server")]
pub(super) struct Elsewhere;

/// The beginning of a stream, until its first event is known.
pub(super) struct Opening {
    held: BytesMut,
    names: Names,
}

/// What addresses mean on either side.
struct Names {
    /// What the target was asked for.
    asked: Url,
    /// The path of the Resource.
    path: String,
    /// The public address of the Resource.
    public: Option<Url>,
    seal: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl Opening {
    /// For the stream that `aim` at the target of `resource` opened. `seal` makes an address the caller's own.
    pub(super) fn new(
        resource: &Resource,
        aim: &PathAndQuery,
        seal: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Option<Box<Self>> {
        let asked = resource.target.as_url().join(aim.as_str()).ok()?;
        let public = Url::parse(resource.uri.as_str()).ok();
        let names = Names { asked, path: resource.path.clone(), public, seal: Box::new(seal) };
        Some(Box::new(Self { held: BytesMut::new(), names }))
    }

    /// Takes what came and gives what may go on, and whether the rest needs no look any more.
    ///
    /// # Errors
    /// [`Elsewhere`].
    pub(super) fn pass(&mut self, data: &[u8]) -> Result<(Bytes, bool), Elsewhere> {
        self.held.extend_from_slice(data);
        // Comments and empty lines before the event keep the connection alive, and wait for nothing.
        let idle = idle_lines(&self.held);
        let before = self.held.split_to(idle);
        let Some(event) = first_event(&self.held) else {
            let is_over = self.held.len() > LONGEST;
            return Ok(if is_over { (joined(before, &self.rest()), true) } else { (before.freeze(), false) });
        };
        let event = self.held.split_to(event);
        let written = match endpoint(&event) {
            Some(address) => self.names.outside(address)?.map(|new| format!("event: endpoint\ndata: {new}\n\n")),
            None => None,
        };
        let event = written.map_or_else(|| event.freeze(), Bytes::from);
        Ok((joined(before, &[&event[..], &self.rest()].concat()), true))
    }

    /// What is held back, where the stream ends before it is whole.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

impl Names {
    /// The address as clients have to write it; `None` where it is right as it stands.
    fn outside(&self, address: &str) -> Result<Option<String>, Elsewhere> {
        let meant = self.asked.join(address).map_err(|_| Elsewhere)?;
        if meant.origin() != self.asked.origin() {
            // A server that was told its public address.
            let is_ours = self.public.as_ref().is_some_and(|public| public.origin() == meant.origin());
            return if is_ours { Ok(None) } else { Err(Elsewhere) };
        }
        if below(meant.path(), &self.path) && !below(self.asked.path(), &self.path) {
            // A server that was told its public path, and would be found under no such path itself.
            return Ok(None);
        }
        let inside = &meant[url::Position::BeforePath..url::Position::AfterQuery];
        Ok(Some(format!("{}{DOOR}{}", self.path, (self.seal)(inside))))
    }
}

fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn joined(mut first: BytesMut, second: &[u8]) -> Bytes {
    first.extend_from_slice(second);
    first.freeze()
}

/// How many bytes at the beginning are whole lines without a field.
fn idle_lines(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some((line, length)) = line(&text[at..]) {
        if !line.is_empty() && line[0] != b':' {
            break;
        }
        at += length;
    }
    at
}

/// The length of the first event with the empty line behind it, if it is whole.
fn first_event(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some((line, length)) = line(&text[at..]) {
        at += length;
        if line.is_empty() {
            return Some(at);
        }
    }
    None
}

/// The `data` of an event named `endpoint`.
fn endpoint(event: &[u8]) -> Option<&str> {
    let (mut name, mut data, mut at) = (None, None, 0);
    while let Some((line, length)) = line(&event[at..]) {
        at += length;
        if let Some(value) = field(line, b"event") {
            name = Some(value);
        } else if let Some(value) = field(line, b"data") {
            // An address has one line.
            if data.replace(value).is_some() {
                return None;
            }
        }
    }
    (name? == b"endpoint").then(|| std::str::from_utf8(data?).ok())?
}

/// The value of a field, without the one space that may stand before it (WHATWG HTML §9.2.6).
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// The first line and its length with its end (`\n`, `\r\n`, or `\r` where more is known to follow).
fn line(text: &[u8]) -> Option<(&[u8], usize)> {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
    match (text[end], text.get(end + 1)) {
        (b'\r', None) => None,
        (b'\r', Some(b'\n')) => Some((&text[..end], end + 2)),
        _ => Some((&text[..end], end + 1)),
    }
}
