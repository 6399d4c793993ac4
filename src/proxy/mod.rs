//! The resource server's front: who may spend. (essay to be written by the room's builder)

use std::{convert::Infallible, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use crate::{
    domain::{Clock, HttpsUrl, Resource},
    token::Mint,
};

/// What a room may say went wrong inside a stream.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How requests are let through.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public origin, for challenges and the `Host` rule.
    pub public_url: HttpsUrl,
    /// Further accepted `Host` values (`host[:port]`).
    pub hosts: Vec<String>,
    /// Accepted browser `Origin`s beside our own; `*` admits all.
    pub origins: Vec<String>,
    /// How long the target may take to send response headers (none by default: tool calls take their time).
    pub header_timeout: Option<Duration>,
    /// How long a stream may be silent (1 h).
    pub idle_timeout: Duration,
    /// PEM of further certificate authorities for https targets.
    pub extra_ca: Option<Vec<u8>>,
}

/// The gate and the road behind it. `B` is the request body that `web` receives.
pub struct Proxy<B> {
    #[allow(dead_code)]
    body: PhantomData<fn(B)>,
}

impl<B> Proxy<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Builds it, with one pooled client.
    ///
    /// # Errors
    /// When the certificates do not parse.
    pub fn new(
        _settings: Settings,
        _resources: Arc<[Arc<Resource>]>,
        _mint: Mint,
        _clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        todo!()
    }

    /// The Resource whose path is a whole-segment prefix of `path` (the longest wins).
    #[must_use]
    pub fn resource_at(&self, _path: &str) -> Option<&Arc<Resource>> {
        todo!()
    }

    /// Gate, then forward. Every outcome is an answer.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, _request: http::Request<B>) -> Result<http::Response<Body>, Infallible> {
        todo!()
    }
}
