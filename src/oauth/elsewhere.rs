//! What looks like a stranger's here, and may be good in another process of the house.
//!
//! Credentials, client ids and records bear a master key's seal or MAC. Under a key that this process was not given they
//! are no more than noise to it, so that a rolling change of keys in the wrong order would end logins: `invalid_grant` and
//! `invalid_client` are what clients throw their tokens and registrations away for. So before either of them is said, the
//! house's mark is read once: while some process has a key that this one has not, the answer is "try again" (503), and
//! nothing is lost. Where no other process writes, nothing is asked.

use super::{AuthorizationServer, Error, ErrorCode, Refusal, RefusalPage};

impl AuthorizationServer {
    /// The error, or "try again" where it might be wrong.
    pub(super) async fn if_ours_to_say(&self, error: Error) -> Error {
        match error.code {
            ErrorCode::InvalidGrant | ErrorCode::InvalidClient | ErrorCode::InvalidToken => {
                self.lacks_key().await.err().unwrap_or(error)
            }
            _ => error,
        }
    }

    /// The same for people.
    pub(super) async fn if_ours_to_tell(&self, refusal: Refusal) -> Refusal {
        match refusal.page {
            RefusalPage::UnknownClient | RefusalPage::BadRequest | RefusalPage::Expired => {
                let Err(error) = self.lacks_key().await else { return refusal };
                Refusal { error, page: RefusalPage::Unavailable, ..refusal }
            }
            _ => refusal,
        }
    }

    /// Fails where another process has a master key that this one has not.
    pub(super) async fn lacks_key(&self) -> Result<(), Error> {
        if !self.parts.store.lacks_key().await? {
            return Ok(());
        }
        let cause = "another process has a master key that is missing here; give it to every process, behind the present \
                     one, before one of them puts it first";
        let error = Error::new(ErrorCode::TemporarilyUnavailable, "this server waits for a newer key, try again");
        Err(error.because(cause))
    }
}
