//! What the operator writes: every mistake at once, precedence, secrets, origins.

mod clients;
mod examples;
mod issuers;
mod mistakes;
#[cfg(feature = "postgres")]
mod postgres;
mod precedence;
#[cfg(feature = "redis")]
mod redis;
mod register;
mod secrets;

use vestibule::config::{self, Environment, File, Flag, Settings, Sources};

/// A key that is 32 bytes, and nobody's.
pub(crate) const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The smallest sound installation.
pub(crate) fn small() -> String {
    format!(
        r#"public_url = "https://mcp.example.com"
secret_key = "{KEY}"
[upstream.github]
provider = "github"
client_id = "Ov23"
client_secret = "hush-hush"
[[resource]]
path = "/notes"
target = "http://127.0.0.1:3000/mcp"
allow = "anyone"
"#
    )
}

/// [`small`] with `from` replaced by `to`; panics if `from` is not in it, so that a test cannot pass by accident.
pub(crate) fn but(from: &str, to: &str) -> String {
    let text = small();
    assert!(text.contains(from), "{from} is not in the small file");
    text.replace(from, to)
}

pub(crate) fn load(toml: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<Settings, String> {
    let file = File { name: "vestibule.toml".into(), text: toml.into(), folder: std::path::PathBuf::new() };
    let environment: Environment = variables.iter().copied().collect();
    let sources = Sources { file: Some(file), environment, flags: flags.to_vec() };
    config::load(&sources).map_err(|mistakes| mistakes.to_string())
}

/// The text that an operator sees.
pub(crate) fn mistakes(toml: &str) -> String {
    load(toml, &[], &[]).err().expect("this file must be refused")
}

/// `value # origin` of one setting.
pub(crate) fn resolved(settings: &Settings, path: &str) -> String {
    let one = settings.resolved.iter().find(|r| r.path == path);
    one.map_or_else(|| "absent".into(), |r| format!("{} # {}", r.value, r.origin))
}
