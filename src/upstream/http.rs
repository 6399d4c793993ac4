//! The only file that names `reqwest`: no redirects, timeouts, size caps, a resolver that refuses private addresses.

/// The HTTP client for everything that the house itself fetches. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http(());

/// How the house goes out.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Total time for one request; at most 8 s, so that `/token` answers within 10 (behaviour 21).
    pub timeout: std::time::Duration,
    /// PEM of further certificate authorities.
    pub extra_ca: Option<Vec<u8>>,
}

impl Http {
    /// Builds the client.
    ///
    /// # Errors
    /// When the certificates do not parse or TLS cannot start.
    pub fn new(_settings: &HttpSettings) -> Result<Self, String> {
        todo!()
    }
}
