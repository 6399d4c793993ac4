//! A file that only its owner reads (mode 0600), replaced as a whole, with a lock beside it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use etcetera::BaseStrategy as _;

use crate::domain::Secret;

/// More than any login has.
const LARGEST: u64 = 1024 * 1024;
/// The longest file name that all systems take, without the ending.
const LONGEST_NAME: usize = 200;

/// `$XDG_STATE_HOME/vestibule/logins/<url>.json`, and what corresponds to it elsewhere.
pub(super) fn usual(url: &str) -> anyhow::Result<PathBuf> {
    let system = etcetera::choose_base_strategy().context("there is no home folder; say --token-file PATH")?;
    let base = system.state_dir().unwrap_or_else(|| system.data_dir());
    let name: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    if name.len() > LONGEST_NAME {
        bail!("the URL is too long for a file name; say --token-file PATH");
    }
    Ok(base.join("vestibule").join("logins").join(format!("{name}.json")))
}

/// The file's text, unless others may read it as well.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Secret<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    // Of the open file, not of the name: nobody can change it in between.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("{} is not a file", path.display());
    }
    only_the_owner(path, &metadata)?;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(LARGEST).read_to_string(&mut text).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Some(Secret::new(text.as_str().to_owned())))
}

#[cfg(unix)]
fn only_the_owner(path: &Path, metadata: &fs::Metadata) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{path} has mode {mode:04o}: others on this machine may have read its tokens. Log out and in again \
             (--logout), or, if nobody has: chmod 600 {path}",
            path = path.display(),
        );
    }
    Ok(())
}

/// Elsewhere the folder's rights are those of the person's profile.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the shape of the other one")]
fn only_the_owner(_: &Path, _: &fs::Metadata) -> anyhow::Result<()> {
    Ok(())
}

/// Replaces the file: the new one is written beside it (mode 0600 from its first byte) and renamed over it.
pub(super) fn write(path: &Path, text: &Secret<String>) -> anyhow::Result<()> {
    let why = || format!("{} cannot be written", path.display());
    let mut file = tempfile::Builder::new().prefix(".login-").tempfile_in(folder(path)?).with_context(why)?;
    file.write_all(text.expose().as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(why)?;
    file.persist(path).with_context(why)?;
    Ok(())
}

/// No file any more. That there was none is as good.
pub(super) fn forget(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Waits for the lock `PATH.lock`. The file stays: who removed it would let two hold it at once.
pub(super) fn lock(path: &Path) -> anyhow::Result<File> {
    folder(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let why = || format!("{} cannot be locked", name.display());
    let file = private().open(&name).with_context(why)?;
    file.lock().with_context(why)?;
    Ok(file)
}

fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The folder of a file, made if need be, for the owner alone.
fn folder(path: &Path) -> anyhow::Result<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}
