//! The human's remembered yes, and the client record that it leaves behind.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BrowserId, ClientId, ClientOrigin, Instant, ResourceUri, Scope};

/// "This browser said yes to this client, redirect host, resource and scope" (D10, CON-8). Not an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The browser that said it.
    pub browser: BrowserId,
    /// The client it was said to.
    pub client: ClientId,
    /// Which edition of it, where there are several (CIMD-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// Where the code would go: scheme and host (loopback without its port).
    pub redirect_host: String,
    /// The MCP server it was said for.
    pub resource: ResourceUri,
    /// What was on the page. Anything more asks again.
    pub scope: Scope,
    /// When it was said.
    pub given: Instant,
    /// When it is forgotten.
    pub expires: Instant,
}

/// A client that a human has approved: written then and nowhere else (D2), for lists, blocking and last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedClient {
    /// The client.
    pub id: ClientId,
    /// Its unverified name.
    pub name: Option<String>,
    /// How it came to us.
    pub origin: ClientOrigin,
    /// First approval.
    pub first_seen: Instant,
    /// Latest approval or use, kept to the day.
    pub last_seen: Instant,
    /// An operator has shut it out.
    #[serde(default)]
    pub blocked: bool,
    /// When the record is forgotten; the sealed id still works afterwards.
    pub expires: Instant,
}

impl ApprovedClient {
    /// How long the record is kept after the client's last use.
    pub const LIFE: Duration = Duration::from_secs(90 * 86_400);
    /// 2100-01-01: a block has no end of its own.
    pub const BLOCKED: Instant = Instant::from_secs(4_102_444_800);
}
