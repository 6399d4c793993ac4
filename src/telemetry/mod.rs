//! Logs: one line per event on stderr, JSON for machines or text for people.
//!
//! **Purpose.** Turns `[telemetry]` into the one global subscriber of the process. **Neighbours.** Ground floor: imports
//! nobody, is called only by [`cli`](crate::cli). **Nevers.** It formats what it is given; that no secret is given to it
//! is the duty of `Secret<T>` (S31).

mod line;

use line::JsonLine;
use tracing_subscriber::{EnvFilter, fmt};

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which events are written: `info`, or per target as in `vestibule=debug,hyper=warn`.
    pub log: String,
    /// How a line looks.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: Format::Json }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object per line, for collectors.
    #[default]
    Json,
    /// Text for people, without colours unless stderr is a terminal.
    Text,
}

/// The filter directive cannot be understood, or logging was started before.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The directive of `log` is malformed.
    #[error("`{directive}` is not a log filter: {reason}")]
    Filter {
        /// What was written.
        directive: String,
        /// Why it was refused.
        reason: String,
    },
    /// A global subscriber exists already.
    #[error("logging is already set up in this process")]
    Already,
}

/// Whether `log` can be understood, for `config`.
///
/// # Errors
/// [`Failed::Filter`].
pub fn check(log: &str) -> Result<(), Failed> {
    filter(log).map(drop)
}

/// Starts logging for the whole process. Span open and close are not written: a span only lends its fields.
///
/// # Errors
/// [`Failed`].
pub fn start(settings: &Settings) -> Result<(), Failed> {
    let filter = filter(&settings.log)?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match settings.format {
        Format::Json => lines.fmt_fields(JsonLine).event_format(JsonLine).try_init(),
        Format::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    outcome.map_err(|_| Failed::Already)
}

fn filter(directive: &str) -> Result<EnvFilter, Failed> {
    EnvFilter::builder()
        .parse(directive)
        .map_err(|e| Failed::Filter { directive: directive.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_filter_is_understood_or_refused() {
        assert!(check("info").is_ok());
        assert!(check("vestibule=debug,hyper=warn").is_ok());
        assert!(check("vestibule=loud").is_err());
    }
}
