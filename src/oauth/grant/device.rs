//! `grant_type=urn:ietf:params:oauth:grant-type:device_code`: a device asks whether its human has agreed (RFC 8628 §3.4).
//!
//! What happens to the [`Device`]:
//!
//! | the device code is | and | answer | Device |
//! |---|---|---|---|
//! | forged | | `invalid_grant` | untouched, the store is not asked |
//! | authentic | another client's | `invalid_grant` | untouched |
//! | good | a proof is demanded, and there is none | `invalid_dpop_proof` | untouched |
//! | good | nobody has decided | `authorization_pending` | the poll is noted |
//! | good | the same, too early | `slow_down` | noted, and the interval grows by 5 s |
//! | any | its client, or its address, asks too often | `slow_down` | untouched |
//! | good | no | `access_denied` | untouched |
//! | good | yes | a token, for one winner | taken |
//! | gone | its time is over | `expired_token` | |
//! | gone | it was redeemed | `invalid_grant` | |

use std::time::Duration;

use super::{AuthorizationServer, Error, ErrorCode, Given, TokenResponse, holder};
use crate::{
    crypto::hash,
    domain::{
        Approval, Client, Credential, Device, DeviceCode, DeviceId, DeviceState, Grant, GrantId, GrantStage, GrantType,
        Thumbprint, UpstreamLogin, grant::SecretHash,
    },
    store::Change,
    token::ProofRefused,
};

pub(super) const GRANT_TYPE: &str = GrantType::DeviceCode.as_str();

/// By how much a poll may come early: clients sleep inaccurately, and networks deliver unevenly.
const TOLERANCE: Duration = Duration::from_millis(500);
/// By how much the interval grows (RFC 8628 §3.5), and up to what, in seconds.
const SLOWER: (u32, u32) = (5, 60);

/// The parameters of RFC 8628 §3.4; the client is read elsewhere.
pub(super) struct DeviceRequest<'a> {
    code: &'a str,
    resources: Vec<&'a str>,
}

impl<'a> DeviceRequest<'a> {
    pub(super) fn read(given: Given<'a>) -> Result<Self, Error> {
        let missing = || Error::new(ErrorCode::InvalidRequest, "device_code is missing");
        Ok(Self { code: given.first("device_code").ok_or_else(missing)?, resources: given.all("resource").collect() })
    }
}

/// What the deciding step found.
enum Polled {
    /// This poll is the one; the Device is taken out.
    Won(Box<Device>),
    Pending,
    TooEarly,
    Denied,
    WrongResource,
    Unproven,
    /// Nothing is there that this client could ask about.
    Gone,
}

impl AuthorizationServer {
    /// One poll; the swap in `ask_after` decides.
    pub(super) async fn poll(
        &self,
        client: &Client,
        request: &DeviceRequest<'_>,
        proof: holder::Shown,
    ) -> Result<TokenResponse, Error> {
        self.check_device_client(client)?;
        let code = hash::authenticate::<DeviceCode>(&self.parts.keyring, request.code)
            .map_err(|_| Error::new(ErrorCode::InvalidGrant, "the device code is not one of ours"))?;
        let key = self.spend(proof).await?;
        match self.ask_after(client, &code, &request.resources, key.as_ref()).await? {
            Polled::Won(device) => self.redeem_device(client, *device, key).await,
            Polled::Pending => Err(Error::new(ErrorCode::AuthorizationPending, "nobody has agreed yet; ask again")),
            Polled::TooEarly => Err(Error::new(ErrorCode::SlowDown, "wait 5 seconds longer between two polls")),
            Polled::Denied => Err(Error::new(ErrorCode::AccessDenied, "the login was denied")),
            Polled::Unproven => Err(ProofRefused::Missing.into()),
            Polled::WrongResource => {
                Err(Error::new(ErrorCode::InvalidTarget, "resource is not the one that was authorized"))
            }
            Polled::Gone if self.parts.clock.now().secs() >= u64::from(code.generation()) => {
                Err(Error::new(ErrorCode::ExpiredToken, "the device code is too old; begin again"))
            }
            Polled::Gone => Err(Error::new(ErrorCode::InvalidGrant, "the device code is unknown or used")),
        }
    }

    /// The deciding step, the table above: of many polls one gets the Device.
    async fn ask_after(
        &self,
        client: &Client,
        code: &Credential<DeviceCode>,
        resources: &[&str],
        key: Option<&Thumbprint>,
    ) -> Result<Polled, Error> {
        let (now, presented) = (self.parts.clock.now(), hash::secret_hash(code));
        let decide = |device: Option<Device>| {
            let is_theirs = |device: &Device| device.client.id == client.id && is_same(&device.secret, &presented);
            let Some(mut device) = device.filter(is_theirs) else { return (Change::Keep, Polled::Gone) };
            if !resources.iter().all(|asked| device.resource.is_meant_by(asked)) {
                return (Change::Keep, Polled::WrongResource);
            }
            if key.is_none() && self.demands_proof(&device.resource) {
                return (Change::Keep, Polled::Unproven);
            }
            match device.state {
                DeviceState::Approved(_) => (Change::Remove, Polled::Won(Box::new(device))),
                DeviceState::Denied => (Change::Keep, Polled::Denied),
                DeviceState::Pending => {
                    let pace = Duration::from_secs(device.interval.into()).saturating_sub(TOLERANCE);
                    let is_early = device.polled.is_some_and(|last| now.since(last) < pace);
                    if is_early {
                        device.interval = (device.interval + SLOWER.0).min(SLOWER.1);
                    }
                    device.polled = Some(now);
                    (Change::Put(device), if is_early { Polled::TooEarly } else { Polled::Pending })
                }
            }
        };
        let id = DeviceId::from_bytes(*code.id()).to_string();
        Ok(self.parts.store.update(&id, decide).await?)
    }

    /// The Grant of the winner.
    async fn redeem_device(
        &self,
        client: &Client,
        device: Device,
        key: Option<Thumbprint>,
    ) -> Result<TokenResponse, Error> {
        let DeviceState::Approved(approval) = device.state else {
            return Err(Error::new(ErrorCode::ServerError, "the device could not be judged"));
        };
        let Approval { identity, upstream, tokens, given } = *approval;
        let (id, now) = (GrantId::from_bytes(self.parts.random.bytes()), self.parts.clock.now());
        let holder = holder::of_refresh_tokens(client, key);
        let (refresh, token) = client.may(GrantType::RefreshToken).then(|| self.first_refresh(id, holder)).unzip();
        let grant = Grant {
            id,
            client: device.client.id,
            identity,
            resource: device.resource,
            scope: device.scope,
            login: Some(UpstreamLogin { upstream, tokens }),
            actor: None,
            created: given,
            expires: self.grant_end(given, now),
            stage: GrantStage::Active { code: Some(device.secret), redeemed: now, refresh },
        };
        if !self.parts.store.insert(&grant).await? {
            return Err(Error::new(ErrorCode::ServerError, "the grant could not be kept"));
        }
        tracing::info!(grant = %id, device = %device.id, client = client.title(), "device code redeemed");
        let response = self.respond(&grant, token, key).await?;
        self.parts.mint.expect_call(&grant, client.title());
        Ok(response)
    }
}

/// RFC 8628 §3.5: what another client hears as a 429.
pub(super) fn in_its_words(error: Error, given: Given<'_>) -> Error {
    match (error.code, given.first("grant_type")) {
        (ErrorCode::TooManyRequests, Some(GRANT_TYPE)) => Error { code: ErrorCode::SlowDown, ..error },
        _ => error,
    }
}

fn is_same(kept: &SecretHash, presented: &SecretHash) -> bool {
    hash::same(kept.as_bytes(), presented.as_bytes())
}
