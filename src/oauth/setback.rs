//! A login that came to nothing, as its person should hear of it.
//!
//! The client is told by redirect, as RFC 6749 §4.1.2.1 has it, but most clients show no more than the code of the error,
//! and some nothing. So the answer also says what a page can say first: which account it was and how to take another one,
//! or who did not answer. `web` shows that page to browsers; its button carries the answer on to the client.

use super::{
    Answer, AuthorizationServer, DeviceSetback, Error, ErrorCode, Refusal, RefusalPage, Setback, Step,
    authorize::{cookie_suffix, gone},
    form::Form,
};
use crate::{
    domain::{AuthorizationRequest, Identity, Reply, RequestId, RequestStage, Secret},
    store,
    upstream::Upstream,
};

/// The longest address that is shown.
const LONGEST: usize = 100;

impl AuthorizationServer {
    /// What the person is told where the client hears of a failure that is none of its own, nor the person's own no.
    pub(super) fn with_setback(&self, step: Step, request: &AuthorizationRequest, error: &Error) -> Step {
        let is_store = error.cause.as_ref().is_some_and(|cause| cause.is::<store::Unavailable>());
        let provider = || {
            let resource = self.resource_at(&request.resource);
            let upstream = resource.and_then(|resource| self.parts.upstreams.get(&resource.upstream));
            upstream.map_or_else(|| "the identity provider".to_owned(), |upstream| upstream.title().to_owned())
        };
        let setback = match error.code {
            // Too often: nobody failed.
            _ if error.wait.is_some() => None,
            ErrorCode::TemporarilyUnavailable if is_store => Some(Setback::Unavailable),
            ErrorCode::TemporarilyUnavailable => Some(Setback::ProviderDown { provider: provider() }),
            ErrorCode::ServerError => Some(Setback::ProviderFailed { provider: provider() }),
            _ => None,
        };
        with(step, setback)
    }

    /// D15: the person is known, and not admitted. Whoever is logged in at the provider with one account comes back with
    /// it each time, so there must be a way to say "another one". It begins a login of its own; the consent that the
    /// person gave stands, and the form is bound to their browser like the first. A client is told at once if they give
    /// up; a device waits for them, but no longer than its code lives, and its page warns once more (RFC 8628 §5.4).
    pub(super) async fn turn_away(
        &self,
        request: &AuthorizationRequest,
        upstream: &Upstream,
        identity: &Identity,
        error: Error,
    ) -> Step {
        let Some(resource) = self.resource_at(&request.resource) else {
            return self.fail(request, &gone(), None).await;
        };
        let form = self.form_of_another_try(request);
        let setback = Setback::WrongAccount {
            account: identity.email.as_deref().filter(|email| is_plain(email)).map(str::to_owned),
            resource_title: resource.title.clone(),
            provider: upstream.title().to_owned(),
            another: upstream.can_switch_account().then(|| form.clone()),
        };
        let done = cookie_suffix(request.id);
        let Reply::Device(device) = &request.reply else {
            return with(self.fail(request, &error, Some(done)).await, Some(setback));
        };
        error.log("device");
        match self.device_is_over(*device).await {
            Ok(None) => {
                tracing::info!(%device, login = %request.id, client = request.client.title(), "another account is needed");
                let client = request.client.title().to_owned();
                Step::SetBackDevice(DeviceSetback { client, setback, form, done })
            }
            Ok(Some(refusal)) => Step::Refuse(refusal),
            Err(outage) => Step::Refuse(Refusal::new(outage.into(), RefusalPage::DeviceWaits)),
        }
    }

    /// The same request once more, under a name of its own.
    fn form_of_another_try(&self, request: &AuthorizationRequest) -> Secret<String> {
        let random = &*self.parts.random;
        let expires = match &request.reply {
            Reply::Redirect { .. } => self.parts.clock.now() + self.settings.request_life,
            Reply::Device(_) => request.expires,
        };
        let id = RequestId::from_bytes(random.bytes());
        let again = AuthorizationRequest { id, expires, stage: RequestStage::AwaitingConsent, ..request.clone() };
        Form::seal(again, &self.parts.keyring, random)
    }
}

/// S29: of the provider's words only what is plainly an address, for the person whose it is.
fn is_plain(email: &str) -> bool {
    email.len() <= LONGEST
        && email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
        && email.bytes().all(|b| b.is_ascii_alphanumeric() || b".@_+-".contains(&b))
}

fn with(step: Step, setback: Option<Setback>) -> Step {
    match step {
        Step::Answer(answer) => Step::Answer(Answer { setback, ..answer }),
        step => step,
    }
}
