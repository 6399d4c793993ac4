//! The command line of `vestibule login`.

use std::{path::PathBuf, time::Duration};

use super::{authorize::Human, client::Given, keep::Where, report::Voice};
use crate::domain::{RegisteredRedirect, Secret};

/// Log in to any MCP server, or see why one cannot.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Options {
    /// The MCP server, as it would be pasted into a client.
    pub(super) url: String,

    /// Show a code to enter in a browser on any device (RFC 8628).
    #[arg(long)]
    pub(super) device: bool,
    /// Renew the kept login now.
    #[arg(long, group = "mode")]
    pub(super) refresh: bool,
    /// Print an access token of the kept login, renewed if need be, and nothing else on stdout.
    #[arg(long, group = "mode", conflicts_with = "json")]
    pub(super) print_token: bool,
    /// Revoke the kept login and forget it.
    #[arg(long, group = "mode")]
    pub(super) logout: bool,
    /// Only find out where a login would go.
    #[arg(long, group = "mode")]
    pub(super) no_login: bool,

    /// Tell every step: what was asked, what is expected by which clause, what came.
    #[arg(long)]
    pub(super) explain: bool,
    /// One JSON document on stdout, with every step.
    #[arg(long)]
    pub(super) json: bool,
    /// A deviation from a specification is a failure.
    #[arg(long)]
    pub(super) strict: bool,

    /// A client that was registered by hand.
    #[arg(long, value_name = "ID", conflicts_with = "client_id_metadata", help_heading = "Client")]
    client_id: Option<String>,
    /// Its secret. Better in the environment, where other people's `ps` does not show it.
    #[arg(
        long,
        value_name = "SECRET",
        env = "VESTIBULE_LOGIN_CLIENT_SECRET",
        hide_env_values = true,
        requires = "client_id",
        value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Secret::from(text)),
        help_heading = "Client"
    )]
    client_secret: Option<Secret<String>>,
    /// A Client ID Metadata Document to be known by.
    #[arg(long, value_name = "URL", help_heading = "Client")]
    client_id_metadata: Option<String>,
    /// Where the browser comes back to, as the client was registered: http on loopback, with or without a port.
    #[arg(long, value_name = "URI", value_parser = redirect_uri, help_heading = "Client")]
    redirect_uri: Option<RegisteredRedirect>,
    /// Register anew, also where the client of the last login could be used.
    #[arg(long, help_heading = "Client")]
    pub(super) new_client: bool,

    /// Ask for this scope instead of what the server names.
    #[arg(long, value_name = "SCOPE")]
    pub(super) scope: Option<String>,
    /// Which of several authorization servers.
    #[arg(long, value_name = "URL")]
    pub(super) issuer: Option<String>,
    /// Open no browser: show the address, and take the one that it ends at on standard input.
    #[arg(long)]
    no_browser: bool,
    /// How long to wait for the person.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// More certificate authorities (PEM).
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,

    /// Where logins are kept.
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    pub(super) keep: Where,
    /// Keep this login in this file (mode 0600).
    #[arg(long, value_name = "PATH", conflicts_with = "keep")]
    pub(super) token_file: Option<PathBuf>,
}

impl Options {
    pub(super) const fn voice(&self) -> Voice {
        if !self.explain || self.json {
            Voice::Quiet
        } else if self.print_token {
            Voice::Stderr
        } else {
            Voice::Stdout
        }
    }

    pub(super) fn given(&self) -> Given {
        Given {
            id: self.client_id.clone(),
            secret: self.client_secret.clone(),
            document: self.client_id_metadata.clone(),
            redirect_uri: self.redirect_uri.clone(),
        }
    }

    pub(super) const fn human(&self) -> Human {
        Human { browser: !self.no_browser, patience: Duration::from_secs(self.timeout) }
    }
}

fn redirect_uri(text: &str) -> Result<RegisteredRedirect, String> {
    let uri = RegisteredRedirect::parse(text).map_err(|bad| bad.to_string())?;
    if uri.is_loopback() { Ok(uri) } else { Err("nobody listens there: use http://127.0.0.1/…".into()) }
}
