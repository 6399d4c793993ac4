//! Files that settings name, read with a bound: a mistaken path (`/dev/zero`) must not fill memory.

use std::{
    fs::File,
    io::{Error, ErrorKind, Read},
    path::Path,
};

/// The whole file, if it has at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than {} KiB", most / 1024)));
    }
    Ok(bytes)
}

/// As [`read`], for text.
pub(super) fn read_text(path: &Path, most: u64) -> std::io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}
