//! A build without the feature `keyring`: there is none.

use anyhow::bail;

use crate::domain::Secret;

/// Whether there can be one.
pub(super) const EXISTS: bool = false;

#[expect(clippy::unnecessary_wraps, reason = "the shape of the real one")]
pub(super) fn read(_: &str) -> anyhow::Result<Option<Secret<String>>> {
    Ok(None)
}

pub(super) fn write(_: &str, _: &Secret<String>) -> anyhow::Result<()> {
    bail!("this binary was built without a keyring")
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of the real one")]
pub(super) fn forget(_: &str) -> anyhow::Result<()> {
    Ok(())
}
