//! The only room that names `oxide_auth`: its sans-I/O machines judge, these drivers ask and answer.
//!
//! Each `Output` of a machine becomes an owned question; whoever drives answers it, awaiting what he likes in between.
//! The machine's `Input` borrows a request that is not `Sync`, so it is made and used up inside one call. What the
//! machines get wrong for MCP clients is mended here (dependencies: oxide-auth):
//!
//! - an unknown code and a wrong verifier are `invalid_grant`, not `invalid_request` (RFC 6749 §5.2, RFC 7636 §4.6);
//! - a missing `response_type` is `invalid_request`, a strange scope is narrowed instead of refused (behaviour 16);
//! - `redirect_uri` at `/token` is optional, since PKCE has taken its place (OAuth 2.1 §10.2), and is compared byte for
//!   byte (AZ-4), where the machine compares parsed URLs;
//! - it reads the wall clock: expiry is judged by our clock before, and what is handed in never expires;
//! - at refresh it compares clients only where the client is named, so it always is: one public client's refresh token
//!   is nothing in another's hands (RT-4). Strange scopes are narrowed away here too, and its one-hour expiry and its
//!   wall clock have no say;
//! - codes, access and refresh tokens are not shown to it where it would keep them, as plain strings.

mod authorize;
mod redeem;
mod refresh;

pub(super) use authorize::{Authorize, AuthorizeAsked, AuthorizeQuestion};
pub(super) use redeem::{CodeTerms, Redeem, RedeemAsked, RedeemQuestion};
pub(super) use refresh::{Refresh, RefreshAsked, RefreshQuestion};

/// Stands for the redirect URI where the client relies on PKCE instead of repeating it.
const NOT_REPEATED: &str = "urn:vestibule:not-repeated";
