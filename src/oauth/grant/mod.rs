//! `/token`: one request, read once, one arm for each grant type (RFC 6749 §3.2).
//!
//! Whoever brings a proof of possession gets tokens bound to its key (RFC 9449 §5; `holder`). It is judged before
//! anything else is looked at, so that a client that has to repeat itself with a nonce loses nothing by that, and it is
//! spent once the code or the refresh token is found authentic: a stranger's request still writes nothing.

mod client_credentials;
mod code;
mod device;
mod exchange;
mod holder;
mod jwt_bearer;
mod refresh;

use std::time::Duration;

use super::{AuthorizationServer, Error, ErrorCode, Parameters, parameters::Given};
use crate::{
    domain::{Scope, Secret, client::JWT_BEARER},
    token::{Addressed, Minted, PresentedProof},
};

/// `Authorization: Basic`, both halves form-decoded (RFC 6749 §2.3.1).
#[derive(Debug)]
pub struct BasicCredentials {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: Secret<String>,
}

/// RFC 6749 §5.1.
#[derive(Debug, serde::Serialize)]
pub struct TokenResponse {
    /// The access token.
    #[serde(with = "crate::domain::secret::in_record")]
    pub access_token: Secret<String>,
    /// `Bearer`, or `DPoP` where it is bound to a key (RFC 9449 §5).
    pub token_type: &'static str,
    /// Where a token was exchanged, what it was exchanged for (RFC 8693 §2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
    /// Seconds; a little less than the token lives, see `told`.
    pub expires_in: u64,
    /// Always said (TOK-1).
    pub scope: Scope,
    /// Where the client may refresh.
    #[serde(with = "crate::domain::secret::in_record_option", skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret<String>>,
}

impl TokenResponse {
    fn new(minted: Minted, scope: Scope, refresh_token: Option<Secret<String>>) -> Self {
        let expires_in = told(minted.life).as_secs();
        let token_type = if minted.key.is_some() { "DPoP" } else { "Bearer" };
        Self { access_token: minted.token, token_type, issued_token_type: None, expires_in, scope, refresh_token }
    }
}

/// The life of a token as its client is told it: a tenth shorter, ten seconds at most. A client counts from when the
/// answer arrives, and its call takes its way, too: one that trusts `expires_in` to the last moment would be refused in
/// it, and the Python SDK then does not refresh but sends its person to log in again.
fn told(life: Duration) -> Duration {
    (life - (life / 10).min(Duration::from_secs(10))).max(Duration::from_secs(1))
}

/// Something to be shown, and perhaps less than it permits is wanted: RFC 6749 §6 and RFC 7523 §2.1, both with RFC 8707.
struct Presented<'a> {
    /// The refresh token, or the assertion.
    credential: &'a str,
    scope: Option<&'a str>,
    resources: Vec<&'a str>,
}

impl<'a> Presented<'a> {
    /// `name` is the credential's parameter; the client is read elsewhere.
    fn read(given: Given<'a>, name: &'static str) -> Result<Self, Error> {
        let missing = || Error::new(ErrorCode::InvalidRequest, format!("{name} is missing"));
        Ok(Self {
            credential: given.first(name).ok_or_else(missing)?,
            scope: given.first("scope"),
            resources: given.all("resource").collect(),
        })
    }
}

/// What `/token` is asked for.
enum TokenRequest<'a> {
    /// RFC 6749 §4.1.3.
    Code(code::CodeRequest<'a>),
    /// RFC 6749 §6.
    Refresh(Presented<'a>),
    /// RFC 8628 §3.4.
    Device(device::DeviceRequest<'a>),
    /// RFC 6749 §4.4.2.
    ClientCredentials(client_credentials::ClientCredentialsRequest<'a>),
    /// RFC 7523 §2.1.
    JwtBearer(Presented<'a>),
    /// RFC 8693 §2.1.
    Exchange(exchange::ExchangeRequest<'a>),
}

impl<'a> TokenRequest<'a> {
    fn read(given: Given<'a>) -> Result<Self, Error> {
        match given.first("grant_type") {
            Some("authorization_code") => Ok(Self::Code(code::CodeRequest::read(given)?)),
            Some("refresh_token") => Ok(Self::Refresh(Presented::read(given, "refresh_token")?)),
            Some("client_credentials") => {
                Ok(Self::ClientCredentials(client_credentials::ClientCredentialsRequest::read(given)))
            }
            Some(JWT_BEARER) => Ok(Self::JwtBearer(Presented::read(given, "assertion")?)),
            Some(exchange::GRANT_TYPE) => Ok(Self::Exchange(exchange::ExchangeRequest::read(given)?)),
            Some(device::GRANT_TYPE) => Ok(Self::Device(device::DeviceRequest::read(given)?)),
            _ => Err(Error::new(
                ErrorCode::UnsupportedGrantType,
                "grant_type is none of grant_types_supported in our metadata",
            )),
        }
    }
}

impl AuthorizationServer {
    /// `/token`: form or JSON, already flattened to parameters.
    ///
    /// # Errors
    /// RFC 6749 §5.2.
    pub async fn token(
        &self,
        parameters: &Parameters,
        basic: Option<BasicCredentials>,
    ) -> Result<TokenResponse, Error> {
        self.token_proven(parameters, basic, PresentedProof::None).await
    }

    /// The same, with what the `DPoP` header fields of the request hold (RFC 9449 §5).
    ///
    /// # Errors
    /// RFC 6749 §5.2, `invalid_dpop_proof` and `use_dpop_nonce`.
    pub async fn token_proven(
        &self,
        parameters: &Parameters,
        basic: Option<BasicCredentials>,
        proof: PresentedProof<'_>,
    ) -> Result<TokenResponse, Error> {
        let outcome = match self.answer_token_request(parameters, basic.as_ref(), proof).await {
            Err(error) => Err(self.if_ours_to_say(error).await),
            given => given,
        };
        if let Err(error) = &outcome {
            error.log("token");
        }
        outcome
    }

    async fn answer_token_request(
        &self,
        parameters: &Parameters,
        basic: Option<&BasicCredentials>,
        proof: PresentedProof<'_>,
    ) -> Result<TokenResponse, Error> {
        let given = Given::new(parameters).check()?;
        if given.first("grant_type").is_none() {
            return Err(Error::new(ErrorCode::InvalidRequest, "grant_type is missing"));
        }
        let addressed = Addressed { method: "POST", origin: &self.issuer, path: "/token" };
        let proof = self.parts.mint.judge_proof(proof, addressed)?;
        // The client first, if one is named: who is not known has to hear `invalid_client`, whatever it asks for, since
        // that is what makes it register anew (behaviour 15). Who names none is told of the grant type first.
        let names_client =
            basic.is_some() || ["client_id", "client_assertion"].iter().any(|n| given.first(n).is_some());
        if !names_client {
            match TokenRequest::read(given)? {
                // A workload registers nowhere: its assertion is all it has (WIF-1).
                TokenRequest::JwtBearer(request) if !request.is_for_a_client() => {
                    return self.admit_workload(&request, holder::Shown::by_nobody(proof)).await;
                }
                _ => {}
            }
        }
        let client = self.authenticate(given, basic).await.map_err(|error| device::in_its_words(error, given))?;
        let proof = holder::Shown::by(&client, proof)?;
        match TokenRequest::read(given)? {
            TokenRequest::Code(request) => self.redeem(&client, &request, proof).await,
            TokenRequest::Refresh(request) => self.refresh(&client, &request, proof).await,
            TokenRequest::Device(request) => self.poll(&client, &request, proof).await,
            TokenRequest::ClientCredentials(request) => self.act_for_itself(&client, &request, proof).await,
            TokenRequest::JwtBearer(request) => self.introduce(&client, &request, proof).await,
            TokenRequest::Exchange(request) => self.exchange(&client, &request, proof).await,
        }
    }
}
