//! The road behind the gate: one pooled client toward the targets. The only file that names the hyper client.

use std::{error::Error as StdError, io, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{BoxError, challenge::Refusal};

/// How long a target may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Node and uvicorn close idle connections after five seconds; we do so before, for a POST that meets a connection
/// just being closed could not be repeated.
const KEPT: Duration = Duration::from_secs(4);

/// The client. It follows no redirect, knows no proxy, keeps no cookie, and repeats a request only if not a byte of it
/// was sent (a pooled connection found dead).
pub(super) struct Road<B> {
    client: Client<HttpsConnector<HttpConnector>, B>,
    header_timeout: Option<Duration>,
}

impl<B> Road<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// `needs_tls`: whether any target is https; only then the system's certificates are read, which takes its time.
    ///
    /// # Errors
    /// A sentence, when the certificates do not parse.
    pub(super) fn new(
        needs_tls: bool,
        extra_ca: Option<&[u8]>,
        header_timeout: Option<Duration>,
    ) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_keepalive(Some(Duration::from_secs(60)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(needs_tls, extra_ca)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .http2_adaptive_window(true)
            .build(connector);
        Ok(Self { client, header_timeout })
    }

    /// Sends the request and waits for the head of the answer, the body of which streams. Dropping either ends the
    /// request at the target (wire 5).
    pub(super) async fn carry(&self, request: Request<B>) -> Result<Response<Incoming>, Refusal> {
        let answer = self.client.request(request);
        let answer = match self.header_timeout {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| Refusal::TimedOut)?,
        };
        answer.map_err(|error| refusal_of(&error))
    }
}

fn tls(needs_tls: bool, extra_ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if needs_tls {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificates could not be read");
        }
        roots.add_parsable_certificates(found.certs);
    }
    if let Some(pem) = extra_ca {
        let mut some = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("extra_ca is not PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("extra_ca holds a certificate that is none: {error}"))?;
            some = true;
        }
        if !some {
            return Err("extra_ca holds no certificate".to_owned());
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The client hears which of four things happened; the details are for the log.
fn refusal_of(error: &Error) -> Refusal {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut refusal = Refusal::Unreachable;
    let mut last = String::new();
    while let Some(this) = cause {
        if this.is::<LengthLimitError>() {
            return Refusal::TooLarge;
        }
        if this.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            refusal = Refusal::TimedOut;
        }
        last = this.to_string();
        cause = this.source();
    }
    tracing::warn!(connecting = error.is_connect(), cause = %last, "the MCP server gave no answer");
    refusal
}
