//! The way to the operator's desk of a running server. The only file of the commands that names an HTTP client.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::{
    admin,
    cli::{SystemClock, sources::ConfigOption},
    config,
    crypto::Keyring,
    domain::{Clock as _, HttpsUrl, Secret},
};

/// Ending all logins of a blocked client may take a while.
const PATIENCE: Duration = Duration::from_secs(600);
/// A server on the same machine answers at once, or is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// Which server, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ServerOption {
    #[command(flatten)]
    config: ConfigOption,
    /// The server's admin listener [default: `[admin] listen` of the configuration].
    #[arg(long, value_name = "URL", env = "VESTIBULE_ADMIN_URL")]
    admin: Option<String>,
    /// The `[admin] token`, for a machine without the server's configuration; better in the environment than here.
    #[arg(long, value_name = "TOKEN", env = "VESTIBULE_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(super) json: bool,
}

enum Credential {
    KeyRing(Keyring),
    Token(Secret<String>),
}

/// A connection to one desk.
pub(super) struct Desk {
    root: String,
    credential: Credential,
    http: reqwest::Client,
}

impl Desk {
    /// Finds the desk and the credential: the token if there is one, else the key ring of the configuration.
    pub(super) fn of(option: &ServerOption) -> anyhow::Result<Self> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (root, token) = (given(&option.admin), given(&option.token).map(Secret::new));
        let (root, credential) = match (root, token) {
            (Some(root), Some(token)) => (root, Credential::Token(token)),
            (root, token) => {
                let settings = config::load(&option.config.sources(Vec::new())?)?;
                let root = match root {
                    Some(root) => root,
                    None => listener(&settings)?,
                };
                let ring = || Credential::KeyRing(Keyring::new(settings.secret_key, settings.older_keys));
                (root, token.map_or_else(ring, Credential::Token))
            }
        };
        let root = root.trim_end_matches('/').to_owned();
        // A signed request is worth nothing to a listener; a token is worth everything.
        if matches!(credential, Credential::Token(_)) && HttpsUrl::parse(&root, false).is_err() {
            bail!("{root}: a token travels over https only, or to loopback");
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.connect_timeout(CONNECT).timeout(PATIENCE).build()?;
        Ok(Self { root, credential, http })
    }

    pub(super) async fn get(&self, target: &str) -> anyhow::Result<Value> {
        self.ask("GET", target, String::new()).await
    }

    pub(super) async fn post(&self, target: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask("POST", target, body.to_string()).await
    }

    pub(super) async fn delete(&self, target: &str) -> anyhow::Result<Value> {
        self.ask("DELETE", target, String::new()).await
    }

    async fn ask(&self, method: &str, target: &str, body: String) -> anyhow::Result<Value> {
        let url = format!("{}{target}", self.root);
        let authorization = match &self.credential {
            Credential::KeyRing(ring) => {
                admin::sign(ring, SystemClock.now(), method, &self.signed_target(target)?, body.as_bytes())
            }
            Credential::Token(token) => format!("Bearer {}", token.expose()),
        };
        let request = self
            .http
            .request(method.parse()?, &url)
            .header("authorization", authorization)
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let text = answer.bytes().await.with_context(|| format!("{} broke off its answer", self.root))?;
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let why = answer["error_description"].as_str().unwrap_or("no reason given");
        bail!("the server answered {status}: {why}")
    }

    /// What the server sees: a proxy in between may put a path in front, which it takes away again.
    fn signed_target(&self, target: &str) -> anyhow::Result<String> {
        let url = url::Url::parse(&self.root).with_context(|| format!("{}: not a URL", self.root))?;
        match url.path() {
            "/" => Ok(target.to_owned()),
            _ => Err(anyhow!("{}: name scheme, host and port only", self.root)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let hint = "is the server running, and is this its admin listener ([admin] listen, or --admin URL)?";
        anyhow!("{} does not answer: {cause}; {hint}", self.root)
    }
}

/// Where the configuration says that the desk is, as seen from this machine.
fn listener(settings: &config::Settings) -> anyhow::Result<String> {
    let off = "the configuration has [admin] listen = \"off\": a running server cannot be managed without it";
    let mut address = settings.admin_listen.context(off)?;
    if address.ip().is_unspecified() {
        let loopback: IpAddr =
            if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    if address.port() == 0 {
        bail!("[admin] listen has no port of its own; name the address that the server logged with --admin URL");
    }
    Ok(format!("http://{address}"))
}
