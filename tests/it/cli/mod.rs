//! The binary as operators use it.

mod check;
#[cfg(feature = "dev")]
mod dev;
mod keys;
mod login;
mod manage;
mod serve;
mod store;

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::config::small;

/// The binary in `folder`, with nothing of the tester's environment.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(arguments).current_dir(folder).env_clear();
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a sound `vestibule.toml` on ports of the system's choice, and a store below it.
pub(crate) fn installation() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text =
        format!("listen = \"127.0.0.1:0\"\n{}[store]\npath = \"store\"\n[admin]\nlisten = \"127.0.0.1:0\"\n", small());
    std::fs::write(folder.path().join("vestibule.toml"), text).unwrap();
    folder
}
