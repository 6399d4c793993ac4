//! Keys in use.

use serde::Serialize;

use super::{Admin, Failed, Operator};
use crate::token::{KeyOutline, RotateFailed, Rotation};

/// One signing key, as lists show it. Its private half never leaves the store.
#[derive(Debug, Serialize)]
pub struct KeyView {
    /// Its name in tokens and in `/jwks`.
    pub kid: String,
    /// JWS name of its algorithm.
    pub alg: String,
    /// `next`, `current` or `retired`.
    pub stage: &'static str,
    /// Since when it is there.
    pub since: String,
    /// When it leaves that stage, as far as that is planned.
    pub until: Option<String>,
}

impl From<KeyOutline> for KeyView {
    fn from(key: KeyOutline) -> Self {
        Self {
            kid: key.kid,
            alg: key.alg,
            stage: key.stage.as_str(),
            since: key.since.to_rfc3339(),
            until: key.until.map(|until| until.to_rfc3339()),
        }
    }
}

/// The keys after a rotation.
#[derive(Debug, Serialize)]
pub struct Rotated {
    /// All of them, the one that signs first.
    pub keys: Vec<KeyView>,
}

impl Admin {
    /// The signing keys of this process: the one that signs first. Empty under HS256.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<KeyView> {
        self.parts.mint.signing_keys().into_iter().map(KeyView::from).collect()
    }

    /// Changes the signing key.
    ///
    /// # Errors
    /// [`Failed::Conflict`] when the next key is too young, or the secret is the operator's own.
    pub async fn rotate(&self, who: Operator, how: Rotation) -> Result<Rotated, Failed> {
        let keys = self.parts.mint.rotate_keys(how).await.map_err(|failed| match failed {
            RotateFailed::TooEarly(at) => Failed::Conflict(
                format!(
                    "the next key is known to every verifier only from {} on; rotate then, or, if the keys may be \
                     known to a stranger, at once with --now",
                    at.to_rfc3339()
                )
                .into(),
            ),
            RotateFailed::Shared => Failed::Conflict(failed.to_string().into()),
            RotateFailed::Store(outage) => outage.into(),
            RotateFailed::Key(bad) => Failed::Broken(bad.to_string()),
        })?;
        let is_compromised = how == Rotation::Compromised;
        let signs = keys.first().map(|key| key.kid.as_str());
        tracing::warn!(operator = who.as_str(), signs, is_compromised, "signing key rotated");
        Ok(Rotated { keys: keys.into_iter().map(KeyView::from).collect() })
    }
}
