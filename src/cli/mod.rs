//! The only place that builds the house. (essay follows)

pub mod clock;
pub mod house;

use std::process::ExitCode;

pub use clock::SystemClock;
pub use house::House;

/// Parses the command line and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    todo!()
}
