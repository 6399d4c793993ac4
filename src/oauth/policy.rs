//! Who may enter which Resource: the operator's `allow`, asked once the provider has said who it is (D15).

use super::{Error, ErrorCode};
use crate::domain::{Identity, Resource};

/// Lets the person in, or not. The log names the person's stable key, the client's developer learns nothing about them.
pub(super) fn admit(resource: &Resource, identity: &Identity) -> Result<(), Error> {
    if resource.allow.admits(identity) {
        return Ok(());
    }
    let is_unverified = identity.email.is_some() && !identity.email_verified;
    tracing::warn!(subject = %identity.subject, resource = %resource.uri, is_unverified, "login denied by policy");
    Err(Error::new(ErrorCode::AccessDenied, "this account is not admitted to this server"))
}
