//! # The desk, and the only place that builds the house
//!
//! **Purpose.** Reads the command line, lets [`config`] read the rest, and does what was asked: `serve`
//! builds the [`House`] room by room from the ground and opens its doors; `check` tells what would be built and probes
//! what it leans on; `client`, `grant` and `key` manage a running server through its admin listener, never by opening its
//! files (D7); `store` moves everything from one store to another; `secret` and `key` make and show keys; `login` is a
//! client of its own for any MCP server, and `doctor` looks at one from outside; `dev` shows a whole login on one machine.
//!
//! **Exit codes.** 0: done. 1: it could not be done (configuration mistakes, all of them; a failed check; a failed
//! listener). 2: the command line was not understood.
//!
//! **Neighbours.** Imports everyone, is imported by `main` alone. `dev` and the tests build the same [`House`] as
//! `serve`, with other clocks, chance and listeners.
//!
//! **Nevers.** No other room names clap. No decision about a request is taken here. What people asked for goes to stdout,
//! everything else to stderr; a secret is printed only by the two commands whose purpose it is.

mod check;
pub mod clock;
#[cfg(feature = "dev")]
mod dev;
mod findings;
pub mod house;
mod key;
mod login;
mod manage;
mod serve;
mod sources;
mod store;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
pub use clock::SystemClock;
pub use house::House;
#[cfg(fuzzing)]
pub use login::is_bearer;

use crate::{
    config,
    crypto::{MasterKey, Os, Random},
};

#[derive(Parser)]
#[command(name = "vestibule", version, about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open the door: run the proxy until SIGTERM or Ctrl-C.
    Serve(serve::Options),
    /// See a whole login on this machine: provider, MCP server and house on loopback. Not for production.
    #[cfg(feature = "dev")]
    Dev(dev::Options),
    /// Tell every mistake, or what would be built and who said so; probe provider and store.
    Check(check::Options),
    /// Log in to any MCP server, keep the tokens for scripts, or see why a login fails (--explain).
    Login(Box<login::Options>),
    /// See whether every client can reach an MCP server and log in there: proxies, slashes, browsers, bot rules.
    Doctor(login::DoctorOptions),
    /// Make secrets.
    #[command(subcommand)]
    Secret(Secret),
    /// See and block the clients of a running server.
    #[command(subcommand)]
    Client(manage::Client),
    /// See and end the logins of a running server.
    #[command(subcommand)]
    Grant(manage::Grant),
    /// Show keys; see and rotate those of a running server.
    #[command(subcommand)]
    Key(manage::Key),
    /// Move everything to another store.
    #[command(subcommand)]
    Store(store::Command),
}

#[derive(Subcommand)]
enum Secret {
    /// Print a new `secret_key`: 32 random bytes in base64.
    New,
}

/// Parses the command line and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(options) => wait(serve::run(options)).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "dev")]
        Command::Dev(options) => wait(dev::run(options)).map(|()| ExitCode::SUCCESS),
        Command::Check(options) => wait(check::run(options)),
        Command::Login(options) => wait(login::run(*options)),
        Command::Doctor(options) => wait(login::doctor(options)),
        Command::Secret(Secret::New) => {
            let random: Arc<dyn Random> = Arc::new(Os);
            print(MasterKey::generate(&*random).to_text().expose()).map(|()| ExitCode::SUCCESS)
        }
        Command::Client(command) => wait(manage::client(command)),
        Command::Grant(command) => wait(manage::grant(command)),
        Command::Key(command) => wait(manage::key(command)),
        Command::Store(command) => wait(store::run(command)).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// Runs a command that waits for the network.
fn wait<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

/// To stdout, a line. A reader who has gone (`| head`) is not an error of ours.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// To stderr; when even that is closed there is nobody left to tell.
fn complain(error: &anyhow::Error) {
    let text = match error.downcast_ref::<config::Mistakes>() {
        Some(mistakes) => mistakes.to_string(),
        None => format!("error: {error:#}\n"),
    };
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
