//! The language of the house: pure nouns, no async, no I/O.
//!
//! **Purpose.** Every word that two rooms share is defined here once, as a type that cannot be wrong: a string from
//! outside becomes one of these at the edge or is refused there. Types carry the RFC's noun; states are enums whose
//! variants hold exactly the fields that exist in that state.
//!
//! **Neighbours.** Everyone may import this room; it imports nobody.
//!
//! **Nevers.** No tokio, no axum, no reqwest, no randomness and no reading of the wall clock: time arrives as an
//! [`Instant`], chance as bytes. Nothing here writes to a log.

pub mod client;
pub mod clock;
pub mod consent;
pub mod device;
pub mod document;
pub mod grant;
pub mod id;
pub mod pkce;
pub mod proof;
pub mod request;
pub mod resource;
pub mod scope;
pub mod secret;
pub mod step_up;
pub mod subject;
pub mod upstream;
pub mod uri;

pub use client::{Client, ClientAuthMethod, ClientId, ClientName, ClientOrigin, GrantType};
pub use clock::{Clock, Instant};
pub use consent::{ApprovedClient, Consent};
pub use device::{Approval, Device, DeviceState, EnteredCode, Place, UserCode};
pub use document::{DocumentUrl, FetchedDocument, HostPattern, SpentAssertion};
pub use grant::{Actor, Grant, GrantStage, UpstreamLogin};
pub use id::{BrowserId, DeviceId, GrantId, RequestId};
pub use pkce::{CodeChallenge, CodeVerifier};
pub use proof::{SpentProof, Thumbprint};
pub use request::{AuthorizationRequest, Reply, RequestStage};
pub use resource::{Allow, Injection, Resource, ResourceUri, Trusts, WorkloadRule};
pub use scope::Scope;
pub use secret::{AuthorizationCode, Credential, CredentialKind, DeviceCode, RefreshToken, Secret, UpstreamState};
pub use subject::{Identity, Subject};
pub use upstream::{UpstreamName, UpstreamTokens};
pub use uri::{HttpsUrl, RedirectUri, RegisteredRedirect};
