//! `vestibule key show`: the key that a backend needs to open `upstream_token` (D4).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::{print, sources::ConfigOption};
use crate::{
    config,
    crypto::{Keyring, ResourceKey},
};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// The resource's path (/notes) or its whole identifier.
    #[arg(long, value_name = "PATH|URI")]
    resource: String,
    /// The JWK alone, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn show(options: &Options) -> anyhow::Result<()> {
    let settings = config::load(&options.config.sources(Vec::new())?)?;
    let wanted = options.resource.trim_end_matches('/');
    let found = settings.resources.iter().find(|r| r.path == wanted || r.uri.is_meant_by(&options.resource));
    let Some(resource) = found else {
        let known: Vec<&str> = settings.resources.iter().map(|r| r.uri.as_str()).collect();
        anyhow::bail!("there is no resource {:?}; there is {}", options.resource, known.join(", "));
    };
    let keys = Keyring::new(settings.secret_key, settings.older_keys).resource_keys(&resource.uri);
    if options.json {
        // One key while there is one, a set (RFC 7517 §5) while older master keys are still in the ring.
        let document = match keys.as_slice() {
            [only] => jwk(only),
            several => json!({ "keys": several.iter().map(jwk).collect::<Vec<_>>() }),
        };
        return print(&document.to_string());
    }
    print(&format!(
        "The access tokens of {} carry the provider's token as `upstream_token`:\na compact JWE, alg \"dir\", enc \
         \"A256GCM\". It opens with the key whose `kid` its header names.\nWhoever has the key can read those tokens: \
         give it to this one backend alone.\n",
        resource.uri
    ))?;
    keys.iter().try_for_each(|key| print(&jwk(key).to_string()))
}

/// RFC 7518 §6.4, with the algorithm it is meant for.
fn jwk(key: &ResourceKey) -> serde_json::Value {
    let k = URL_SAFE_NO_PAD.encode(key.key.expose());
    json!({ "kty": "oct", "use": "enc", "alg": "dir", "kid": key.kid, "k": k })
}
