//! Where a login is kept between two runs: the system's keyring, or a file that only its owner reads.
//!
//! One record for each MCP server, named by its URL. A record knows its issuer and its token endpoint, and its tokens go
//! nowhere else, whatever the server says of itself by then. Whoever changes a record holds its lock, a file beside it,
//! so that two runs never spend one refresh token twice.

mod file;
#[cfg(feature = "keyring")]
mod keyring;
#[cfg(not(feature = "keyring"))]
#[path = "no_keyring.rs"]
mod keyring;

use std::{fs::File, path::PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::domain::{HttpsUrl, Secret, secret};

/// How records are written.
const VERSION: u32 = 1;

/// A login at one MCP server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    version: u32,
    /// The MCP server, as it was asked for.
    pub(super) url: String,
    /// The parameter `resource`.
    pub(super) resource: String,
    /// Who gave the tokens.
    pub(super) issuer: String,
    /// Where they are renewed.
    pub(super) token_endpoint: String,
    /// Where they are given back.
    pub(super) revocation_endpoint: Option<String>,
    pub(super) client: Client,
    /// Gone when the server has refused them; the client is still good.
    pub(super) tokens: Option<Tokens>,
}

/// Who we are at the issuer (SEP-2352: there and nowhere else).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) id: String,
    #[serde(with = "secret::in_record_option")]
    pub(super) secret: Option<Secret<String>>,
    /// Whether the secret goes into the body; otherwise into the header.
    pub(super) secret_in_body: bool,
    /// Whether it came from a registration, and not from the command line.
    pub(super) is_registered: bool,
    /// Whether for the device grant; a server may allow a client no other.
    pub(super) for_device: bool,
    /// With the port it was registered with.
    pub(super) redirect_uri: Option<String>,
}

/// What the token endpoint gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tokens {
    #[serde(with = "secret::in_record")]
    pub(super) access: Secret<String>,
    #[serde(with = "secret::in_record_option")]
    pub(super) refresh: Option<Secret<String>>,
    pub(super) scope: Option<String>,
    /// Seconds since 1970.
    pub(super) obtained_at: u64,
    /// Seconds since 1970.
    pub(super) expires_at: Option<u64>,
}

impl Login {
    pub(super) const fn new(
        url: String,
        resource: String,
        issuer: String,
        token_endpoint: String,
        revocation_endpoint: Option<String>,
        client: Client,
        tokens: Option<Tokens>,
    ) -> Self {
        Self { version: VERSION, url, resource, issuer, token_endpoint, revocation_endpoint, client, tokens }
    }
}

/// Where the person wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Where {
    /// In the keyring if there is one, else in a file.
    Auto,
    /// In the system's keyring.
    Keyring,
    /// In a file of mode 0600.
    File,
}

/// The place of one login.
#[derive(Debug)]
pub(super) struct Keep {
    url: String,
    place: Where,
    file: PathBuf,
}

/// A login's record while nobody else may change it.
pub(super) struct Held<'a> {
    keep: &'a Keep,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Keep {
    /// The place for this URL. A path of the person's own means a file.
    pub(super) fn new(url: &HttpsUrl, place: Where, path: Option<PathBuf>) -> anyhow::Result<Self> {
        let url = url.to_string();
        let place = if path.is_some() { Where::File } else { place };
        if place == Where::Keyring && !keyring::EXISTS {
            bail!("this binary was built without the feature `keyring`; use --keep file");
        }
        let file = match path {
            Some(path) => path,
            None => file::usual(&url)?,
        };
        Ok(Self { url, place, file })
    }

    /// What is kept.
    pub(super) fn read(&self) -> anyhow::Result<Option<Login>> {
        let from_keyring = match self.place {
            Where::File => None,
            Where::Keyring => keyring::read(&self.url)?,
            // No keyring here, or a locked one: the file may have it.
            Where::Auto => keyring::read(&self.url).unwrap_or_default(),
        };
        let text = match from_keyring {
            Some(text) => Some(text),
            None if self.place == Where::Keyring => None,
            None => file::read(&self.file)?,
        };
        let Some(text) = text else { return Ok(None) };
        let login: Login = serde_json::from_str(text.expose())
            // The cause may quote what it could not read.
            .map_err(|_| anyhow::anyhow!("what is kept in {self} is no login of this version; --logout removes it"))?;
        if login.url != self.url || login.version != VERSION {
            bail!("{self} holds the login at {}, which is not sent to {}", login.url, self.url);
        }
        Ok(Some(login))
    }

    /// Waits for whoever is changing the record, and lets nobody else change it.
    pub(super) fn hold(&self) -> anyhow::Result<Held<'_>> {
        Ok(Held { keep: self, _lock: file::lock(&self.file)? })
    }
}

impl Held<'_> {
    /// What is kept now.
    pub(super) fn read(&self) -> anyhow::Result<Option<Login>> {
        self.keep.read()
    }

    /// Keeps this in place of what was there; gives where. Whole or not at all: whoever reads meanwhile sees the old.
    pub(super) fn write(&self, login: &Login) -> anyhow::Result<String> {
        let text = Secret::new(serde_json::to_string(login).context("the login cannot be written down")?);
        if self.keep.place != Where::File {
            match keyring::write(&self.keep.url, &text) {
                Ok(()) => {
                    // One truth: a copy in the file would outlive it.
                    file::forget(&self.keep.file)?;
                    return Ok("the system's keyring".into());
                }
                Err(error) if self.keep.place == Where::Keyring => return Err(error),
                Err(_) => {}
            }
        }
        file::write(&self.keep.file, &text)?;
        if self.keep.place == Where::Auto {
            // As above. A keyring that just refused may refuse this as well; it would be asked first the next time.
            drop(keyring::forget(&self.keep.url));
        }
        Ok(self.keep.file.display().to_string())
    }

    /// Keeps nothing any more, whatever was there.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        match self.keep.place {
            Where::File => {}
            Where::Keyring => return keyring::forget(&self.keep.url),
            Where::Auto => drop(keyring::forget(&self.keep.url)),
        }
        file::forget(&self.keep.file)
    }
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            Where::Keyring => f.write_str("the system's keyring"),
            Where::File => write!(f, "{}", self.file.display()),
            Where::Auto => write!(f, "the system's keyring or {}", self.file.display()),
        }
    }
}
