//! The only file that names `keyring`: Keychain, Credential Manager, Secret Service. Each call blocks, maybe until a
//! person has unlocked it.

use anyhow::Context as _;
use keyring::v1::{Entry, Error};

use crate::domain::Secret;

/// Whether there can be one.
pub(super) const EXISTS: bool = true;

/// How the entries are called in the system's own window.
const SERVICE: &str = "vestibule login";

fn entry(url: &str) -> anyhow::Result<Entry> {
    Entry::new(SERVICE, url).context("there is no keyring here")
}

pub(super) fn read(url: &str) -> anyhow::Result<Option<Secret<String>>> {
    match apart(|| entry(url)?.get_password().map(Some).or_else(absent)) {
        Ok(text) => Ok(text.map(Secret::new)),
        Err(error) => Err(error),
    }
}

pub(super) fn write(url: &str, text: &Secret<String>) -> anyhow::Result<()> {
    apart(|| entry(url)?.set_password(text.expose()).context("the keyring does not take it"))
}

pub(super) fn forget(url: &str) -> anyhow::Result<()> {
    apart(|| entry(url)?.delete_credential().map(Some).or_else(absent).map(drop))
}

fn absent<T>(error: Error) -> anyhow::Result<Option<T>> {
    match error {
        Error::NoEntry => Ok(None),
        error => Err(error).context("the keyring does not answer"),
    }
}

/// Away from the runtime: what speaks D-Bus brings a reactor of its own, which must not start on a thread of ours.
fn apart<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| anyhow::bail!("the keyring gave up"))
}
