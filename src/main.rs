//! The thin binary: hand over to [`vestibule::cli`], turn its outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    vestibule::cli::run()
}
