//! Where secrets come from: the file itself, `env:NAME`, `file:/path`.

use std::{fs, path::Path};

use super::{
    desk::{Desk, Said, shown},
    disk,
};
use crate::domain::Secret;

/// Longer than any secret.
const LONGEST: u64 = 64 * 1024;

/// Opens the source and shows, masked, which one it was.
pub(super) fn open(desk: &Desk<'_>, said: Said) -> Option<Secret<String>> {
    let Said { text, path, origin } = said;
    let (secret, source) = if let Some(name) = text.strip_prefix("env:") {
        match desk.environment.get(name) {
            Some(value) => (Secret::from(value), format!("*** (env:{name})")),
            None => {
                let problem = format!("the environment variable {} is not set", shown(name));
                desk.mistake(&path, &origin, problem, "set it, or point to a file with file:/path");
                return None;
            }
        }
    } else if let Some(file) = text.strip_prefix("file:") {
        match read(desk, &path, &desk.folder.join(file)) {
            Ok(secret) => (secret, format!("*** (file:{file})")),
            Err(reason) => {
                let problem = format!("the file {} cannot be read: {reason}", shown(file));
                desk.mistake(&path, &origin, problem, "write the secret into that file, readable by this user alone");
                return None;
            }
        }
    } else {
        (Secret::new(text), "***".to_owned())
    };
    if secret.expose().is_empty() {
        desk.mistake(&path, &origin, "the secret is empty", "write it, or point to it with env:NAME or file:/path");
        return None;
    }
    desk.resolved(path, source, origin);
    Some(secret)
}

fn read(desk: &Desk<'_>, setting: &str, path: &Path) -> Result<Secret<String>, String> {
    let text = disk::read_text(path, LONGEST).map_err(|e| e.to_string())?;
    #[cfg(unix)]
    if fs::metadata(path).is_ok_and(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o004 != 0) {
        desk.warn(format!("{setting}: everyone on this machine can read {}; `chmod 600` it", path.display()));
    }
    let mut text = zeroize::Zeroizing::new(text);
    // Editors and `echo` end a file with a line break that belongs to nobody's secret.
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *text)))
}
