//! Where the configuration is looked for: a flag, `VESTIBULE_CONFIG`, then the usual places.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{Environment, File, Flag, Sources};

/// Looked for in this order; without any of them the environment alone may do.
const USUAL: [&str; 2] = ["vestibule.toml", "/etc/vestibule.toml"];

/// The flag that all commands share.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConfigOption {
    /// The configuration [default: ./vestibule.toml, then /etc/vestibule.toml, if there is one].
    #[arg(long, short, value_name = "FILE", env = "VESTIBULE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// File, environment and flags of this process.
    pub(super) fn sources(&self, flags: Vec<Flag>) -> anyhow::Result<Sources> {
        let usual = || USUAL.map(Path::new).into_iter().find(|path| path.exists()).map(Path::to_owned);
        let file = match self.config.clone().filter(|path| !path.as_os_str().is_empty()).or_else(usual) {
            Some(path) => {
                let why = || format!("the configuration {} cannot be read", path.display());
                Some(File::read(&path).with_context(why)?)
            }
            None => None,
        };
        Ok(Sources { file, environment: Environment::of_process(), flags })
    }
}
