//! The only place that builds the house. (essay to be written by the room's builder)

use std::process::ExitCode;

/// Parses the command line and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    todo!()
}
