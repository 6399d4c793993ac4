//! Devices without a browser: they show a code, and their human types it elsewhere (RFC 8628).
//!
//! What comes of it is the login that everybody has: an [`AuthorizationRequest`] with [`Reply::Device`] goes through the
//! same consent, provider and callback; only the answer waits for the device to ask (`grant::device`). The provider need
//! not know the device grant at all.
//!
//! The attack is to make somebody agree to *another's* device (RFC 8628 §5.4): the attacker begins here and sends the
//! link. So nothing is skipped, whatever was agreed to before; the code of a link is shown to be compared and has to be
//! sent by the human; and the page says which client asks, from where and when, and whether that is another network
//! than theirs.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{
    AuthorizationServer, BasicCredentials, Browser, Destination, DeviceEnd, Error, ErrorCode, Parameters, Refusal,
    RefusalPage, Step, UserCodePage, UserCodeTrouble,
    authorize::{gone, narrow, not_ours},
    parameters::Given,
};
use crate::{
    crypto::hash,
    domain::{
        Approval, AuthorizationRequest, BrowserId, Client, Device, DeviceCode, DeviceId, DeviceState, EnteredCode,
        GrantType, Identity, Place, Reply, RequestId, RequestStage, Scope, Secret, UpstreamName, UpstreamTokens,
        UserCode,
    },
    store::{Change, Unavailable},
};

/// Names the record of a user code.
const CODE_PURPOSE: &str = "oauth/user-code";
/// Binds the form of the code to a browser.
const FORM_PURPOSE: &str = "oauth/device-form";
/// Seconds between two polls (RFC 8628 §3.2).
const INTERVAL: u32 = 5;
/// How often a user code is drawn anew when it is taken. Among ten thousand codes the first is free but once in millions.
const DRAWS: usize = 8;

/// `[device]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Life of a device code and of its user code (10 min).
    pub life: Duration,
}

/// RFC 8628 §3.2.
#[derive(Debug, Serialize)]
pub struct DeviceAuthorization {
    /// For polling.
    #[serde(with = "crate::domain::secret::in_record")]
    device_code: Secret<String>,
    /// For the human.
    #[serde(with = "crate::domain::secret::in_record")]
    user_code: Secret<String>,
    /// Where to type it.
    verification_uri: String,
    /// The same with the code in it, for a QR code or a link.
    #[serde(with = "crate::domain::secret::in_record")]
    verification_uri_complete: Secret<String>,
    /// Seconds.
    expires_in: u64,
    /// Seconds.
    interval: u32,
}

impl AuthorizationServer {
    /// `/device_authorization` (RFC 8628 §3.1): form or JSON, already flattened to parameters.
    ///
    /// # Errors
    /// Those of RFC 6749 §5.2, and `invalid_target`.
    pub async fn device_authorization(
        &self,
        parameters: &Parameters,
        basic: Option<BasicCredentials>,
        place: Place,
    ) -> Result<DeviceAuthorization, Error> {
        let outcome = self.begin_device(parameters, basic.as_ref(), place).await;
        if let Err(error) = &outcome {
            error.log("device_authorization");
        }
        outcome
    }

    async fn begin_device(
        &self,
        parameters: &Parameters,
        basic: Option<&BasicCredentials>,
        place: Place,
    ) -> Result<DeviceAuthorization, Error> {
        let Some(settings) = self.settings.device else {
            return Err(Error::new(ErrorCode::InvalidRequest, "logins for devices are not offered here"));
        };
        let given = Given::new(parameters).check()?;
        let client = self.authenticate(given, basic).await?;
        self.check_device_client(&client)?;
        let resource = self.resource(given.all("resource")).ok_or_else(not_ours)?;
        let scope = narrow(&Scope::parse(given.first("scope").unwrap_or_default()), resource, &client)?;
        let (now, random) = (self.parts.clock.now(), &*self.parts.random);
        let (id, expires) = (DeviceId::from_bytes(random.bytes()), now + settings.life);
        // In the generation, which does not rotate here, the end: "too old" differs from "used".
        let until = u32::try_from(expires.secs()).unwrap_or(u32::MAX);
        let (code, text) = hash::issue::<DeviceCode>(&self.parts.keyring, *id.as_bytes(), until, random);
        let title = client.title().to_owned();
        let device = Device {
            id,
            secret: hash::secret_hash(&code),
            client,
            resource: resource.uri.clone(),
            scope,
            place,
            asked: now,
            expires,
            interval: INTERVAL,
            polled: None,
            state: DeviceState::Pending,
        };
        // The device first: a user code that is known must lead somewhere.
        if !self.parts.store.insert(&device).await? {
            return Err(Error::new(ErrorCode::ServerError, "the device could not be kept"));
        }
        let user_code = self.draw_user_code(&device).await?;
        tracing::info!(device = %id, client = title, resource = %device.resource, address = %device.place.address, "device code issued");
        let verification_uri = self.device_address(None);
        Ok(DeviceAuthorization {
            device_code: text,
            user_code: Secret::new(user_code.to_string()),
            verification_uri_complete: Secret::new(self.device_address(Some(&user_code))),
            verification_uri,
            expires_in: settings.life.as_secs(),
            interval: INTERVAL,
        })
    }

    /// A code that no other device shows now.
    async fn draw_user_code(&self, device: &Device) -> Result<UserCode, Error> {
        for _ in 0..DRAWS {
            let Some(code) = UserCode::from_random(&self.parts.random.bytes()) else { continue };
            let id = URL_SAFE_NO_PAD.encode(self.parts.keyring.mac(CODE_PURPOSE, &[code.letters()]));
            let entered = EnteredCode { id, device: device.id, browser: None, expires: device.expires };
            if self.parts.store.insert(&entered).await? {
                return Ok(code);
            }
        }
        Err(Error::new(ErrorCode::ServerError, "no user code is free"))
    }

    /// The page's address, with the code if there is one.
    fn device_address(&self, code: Option<&UserCode>) -> String {
        let base = format!("{}/device", self.issuer);
        code.map_or_else(|| base.clone(), |code| format!("{base}?user_code={code}"))
    }

    /// Whether this client may log devices in.
    pub(super) fn check_device_client(&self, client: &Client) -> Result<(), Error> {
        if self.settings.device.is_some() && client.may(GrantType::DeviceCode) {
            return Ok(());
        }
        Err(Error::new(ErrorCode::UnauthorizedClient, "this client is not registered for the device grant"))
    }

    /// GET `/device`: the page on which the code is typed. It looks nothing up, so it tells nobody which codes there are.
    #[must_use]
    pub fn ask_user_code(&self, query: &Parameters, browser: &Browser) -> Step {
        if self.settings.device.is_none() {
            return Step::Refuse(no_devices());
        }
        let given = Given::new(query).first("user_code").and_then(UserCode::parse);
        self.user_code_page(browser, given, None)
    }

    fn user_code_page(&self, browser: &Browser, given: Option<UserCode>, trouble: Option<UserCodeTrouble>) -> Step {
        let token = self.parts.keyring.mac(FORM_PURPOSE, &[browser.id.as_bytes()]);
        Step::AskUserCode(UserCodePage {
            token: Secret::new(URL_SAFE_NO_PAD.encode(token)),
            address: self.device_address(given.as_ref()),
            given,
            trouble,
        })
    }

    /// POST `/device`: the human sent the code (form fields `user_code` and `form`). The caller limits how often.
    pub async fn enter_user_code(&self, form: &Parameters, browser: &Browser, place: &Place) -> Step {
        if self.settings.device.is_none() {
            return Step::Refuse(no_devices());
        }
        let given = Given::new(form);
        let code = given.first("user_code").and_then(UserCode::parse);
        let token = given.first("form").and_then(|token| URL_SAFE_NO_PAD.decode(token).ok());
        let is_ours = token.is_some_and(|mac| self.parts.keyring.mac_is(FORM_PURPOSE, &[browser.id.as_bytes()], &mac));
        if !is_ours {
            // Another site may send forms in this browser's name: it must not get further than our first page does.
            return self.user_code_page(browser, code, Some(UserCodeTrouble::NotFromHere));
        }
        let Some(code) = code else { return self.user_code_page(browser, None, Some(UserCodeTrouble::Unknown)) };
        match self.entered(&code, browser.id).await {
            Ok(Some(device)) => self.ask_for_device(device, code, browser, place).await,
            Ok(None) => self.user_code_page(browser, None, Some(UserCodeTrouble::Unknown)),
            Err(outage) => {
                let error = Error::from(outage);
                error.log("device");
                Step::Refuse(Refusal::new(error, RefusalPage::Unavailable))
            }
        }
    }

    /// The device of this code, if it waits. The first browser takes the code; it may send it again (a double click, a
    /// way back), and nobody else can.
    async fn entered(&self, code: &UserCode, browser: BrowserId) -> Result<Option<Device>, Unavailable> {
        let take = |entered: Option<EnteredCode>| match entered {
            Some(entered) if entered.browser == Some(browser) => (Change::Keep, Some(entered.device)),
            Some(entered) if entered.browser.is_none() => {
                let device = entered.device;
                (Change::Put(EnteredCode { browser: Some(browser), ..entered }), Some(device))
            }
            _ => (Change::Keep, None),
        };
        for mac in self.parts.keyring.macs(CODE_PURPOSE, &[code.letters()]).collect::<Vec<_>>() {
            let Some(id) = self.parts.store.update(&URL_SAFE_NO_PAD.encode(mac), take).await? else { continue };
            let device: Option<Device> = self.parts.store.get(&id.to_string()).await?;
            return Ok(device.filter(|device| device.state == DeviceState::Pending));
        }
        Ok(None)
    }

    /// The consent page of this device: always, whatever was agreed to before.
    async fn ask_for_device(&self, device: Device, code: UserCode, browser: &Browser, place: &Place) -> Step {
        let Some(resource) = self.resource_at(&device.resource) else {
            return Step::Refuse(Refusal::new(gone(), RefusalPage::Unavailable));
        };
        let destination = Destination::Device {
            code,
            is_near: device.place.is_near(place),
            place: device.place,
            ago: self.parts.clock.now().since(device.asked),
        };
        let request = AuthorizationRequest {
            id: RequestId::from_bytes(self.parts.random.bytes()),
            client: device.client,
            reply: Reply::Device(device.id),
            resource: device.resource,
            scope: device.scope,
            browser: browser.id,
            expires: device.expires,
            stage: RequestStage::AwaitingConsent,
        };
        if let Err(refusal) =
            self.still_answerable((&request.client.id, request.client.edition.as_deref()), &request.reply).await
        {
            return Step::Refuse(refusal);
        }
        self.ask_consent(request, resource, &Scope::default(), destination)
    }

    /// Before a human is sent to log in for nothing: whether the device still waits.
    pub(super) async fn device_is_over(&self, id: DeviceId) -> Result<Option<Refusal>, Unavailable> {
        let device: Option<Device> = self.parts.store.get(&id.to_string()).await?;
        Ok(match device.map(|device| device.state) {
            Some(DeviceState::Pending) => None,
            Some(_) => Some(already_decided()),
            None => Some(too_late()),
        })
    }

    /// The human agreed and is known: the deciding step for the device.
    pub(super) async fn approve_device(
        &self,
        id: DeviceId,
        request: &AuthorizationRequest,
        upstream: &UpstreamName,
        (tokens, identity): (UpstreamTokens, Identity),
        done: Option<String>,
    ) -> Result<Step, Error> {
        let (upstream, given) = (upstream.clone(), self.parts.clock.now());
        let subject = identity.subject.clone();
        let approval = Box::new(Approval { identity, upstream, tokens, given });
        let decide = |device: Option<Device>| match device {
            None => (Change::Keep, Some(too_late())),
            Some(device) if device.state != DeviceState::Pending => (Change::Keep, Some(already_decided())),
            Some(device) => (Change::Put(Device { state: DeviceState::Approved(approval.clone()), ..device }), None),
        };
        if let Some(refusal) = self.parts.store.update(&id.to_string(), decide).await? {
            return Ok(Step::Refuse(refusal));
        }
        tracing::info!(device = %id, login = %request.id, client = request.client.title(),
            %subject, resource = %request.resource, "device approved");
        Ok(self.device_end(request, true, done))
    }

    /// The login came to nothing. A no is told to the device; after anything else it still waits, and its human may
    /// enter the code again in the same browser.
    pub(super) async fn fail_device(
        &self,
        id: DeviceId,
        request: &AuthorizationRequest,
        error: &Error,
        done: Option<String>,
    ) -> Step {
        error.log("device");
        if error.code != ErrorCode::AccessDenied {
            let error = Error::new(error.code, error.description.clone());
            return Step::Refuse(Refusal::new(error, RefusalPage::DeviceWaits));
        }
        let deny = |device: Option<Device>| match device {
            Some(device) if device.state == DeviceState::Pending => {
                (Change::Put(Device { state: DeviceState::Denied, ..device }), ())
            }
            _ => (Change::Keep, ()),
        };
        match self.parts.store.update(&id.to_string(), deny).await {
            Ok(()) => {
                tracing::info!(device = %id, login = %request.id, client = request.client.title(), "device denied");
                self.device_end(request, false, done)
            }
            Err(outage) => Step::Refuse(Refusal::new(outage.into(), RefusalPage::DeviceWaits)),
        }
    }

    fn device_end(&self, request: &AuthorizationRequest, is_granted: bool, done: Option<String>) -> Step {
        let title = self.resource_at(&request.resource).map(|resource| resource.title.clone());
        Step::EndDevice(DeviceEnd {
            client: request.client.title().to_owned(),
            resource_title: title.unwrap_or_default(),
            is_granted,
            done,
        })
    }
}

fn no_devices() -> Refusal {
    let error = Error::new(ErrorCode::InvalidRequest, "logins for devices are not offered here");
    Refusal::new(error, RefusalPage::BadRequest)
}

fn too_late() -> Refusal {
    Refusal::new(Error::new(ErrorCode::ExpiredToken, "the device's code is too old"), RefusalPage::Expired)
}

fn already_decided() -> Refusal {
    let error = Error::new(ErrorCode::InvalidRequest, "this device has its answer already");
    Refusal::new(error, RefusalPage::AlreadyDone)
}
