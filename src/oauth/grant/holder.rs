//! To whose key a token is bound, and who has to bring one (RFC 9449 §5; DP-1, DP-3).

use super::{AuthorizationServer, Error, ErrorCode};
use crate::{
    domain::{Client, Grant, GrantStage, ResourceUri, Thumbprint},
    token::{Judged, ProofRefused, is_holder},
};

/// The proof of a request that was found to be made for it, if there is one. It is not spent yet.
pub(super) struct Shown(Option<Judged>);

impl Shown {
    /// RFC 9449 §5.2: a client that said it always proves gets nothing without.
    pub(super) fn by(client: &Client, proof: Option<Judged>) -> Result<Self, Error> {
        if client.always_proves && proof.is_none() {
            return Err(ProofRefused::Missing.into());
        }
        Ok(Self(proof))
    }

    /// Of a request that no registered client makes.
    pub(super) const fn by_nobody(proof: Option<Judged>) -> Self {
        Self(proof)
    }
}

impl AuthorizationServer {
    /// Spends the proof: from now on its key is known, and nobody can use it again.
    pub(super) async fn spend(&self, Shown(proof): Shown) -> Result<Option<Thumbprint>, Error> {
        match proof {
            Some(proof) => Ok(Some(self.parts.mint.spend_proof(proof).await?)),
            None => Ok(None),
        }
    }

    /// No token is made for a Resource whose gate would refuse it.
    pub(super) fn check_demand(&self, resource: &ResourceUri, key: Option<&Thumbprint>) -> Result<(), Error> {
        if key.is_none() && self.demands_proof(resource) {
            return Err(ProofRefused::Missing.into());
        }
        Ok(())
    }

    pub(super) fn demands_proof(&self, resource: &ResourceUri) -> bool {
        self.resource_at(resource).is_some_and(|resource| resource.demands_proof)
    }
}

/// The key that a client's refresh tokens are bound to from the start: a public client's, since a confidential one proves
/// itself anyway (RFC 9449 §5).
pub(super) fn of_refresh_tokens(client: &Client, key: Option<Thumbprint>) -> Option<Thumbprint> {
    key.filter(|_| !client.auth_method.is_confidential())
}

/// Whether who proved to hold `key` may refresh. Nothing happens to the Grant of whoever may not: a thief without the key
/// must not be able to end the login.
pub(super) fn check_refresh(grant: &Grant, key: Option<&Thumbprint>) -> Result<(), Error> {
    let GrantStage::Active { refresh: Some(chain), .. } = &grant.stage else { return Ok(()) };
    match (is_holder(chain.holder.as_ref(), key), key) {
        (true, _) => Ok(()),
        (false, None) => Err(ProofRefused::Missing.into()),
        (false, Some(_)) => {
            tracing::warn!(grant = %grant.id, "a refresh token came with a proof by another key than its own");
            Err(Error::new(ErrorCode::InvalidGrant, "the refresh token is bound to another key"))
        }
    }
}
