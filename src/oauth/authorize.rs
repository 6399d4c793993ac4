//! `/authorize`: parameters to a checked request, and the dispatcher that sends it on its way (RFC 6749 §4.1.1).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Answer, AuthorizationServer, Browser, ConsentMode, ConsentPage, Destination, DocumentHost, Error, ErrorCode,
    Navigation, Parameters, Refusal, RefusalPage, StateCookie, Step,
    admission::Unfit,
    form::Form,
    machine::{Authorize, AuthorizeAsked, AuthorizeQuestion},
    parameters::Given,
};
use crate::{
    crypto::hash,
    domain::{
        AuthorizationRequest, BrowserId, Client, ClientOrigin, CodeChallenge, Consent, DocumentUrl, GrantType,
        RedirectUri, Reply, RequestId, RequestStage, Resource, Scope, Secret, Thumbprint, UpstreamState,
        client::RedirectRefused, proof::NotAThumbprint, scope::OFFLINE_ACCESS,
    },
    store::{self, Unavailable},
    token::Dpop,
    upstream::{Account, Begin, Upstream},
};

/// Binds the upstream `state` to a browser (CON-6).
pub(super) const STATE_PURPOSE: &str = "oauth/state";

/// Where an answer goes, proven to be the client's.
#[derive(Clone, Copy)]
pub(super) struct ReplyTo<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect: &'a RedirectUri,
    pub(super) state: Option<&'a str>,
}

impl AuthorizationServer {
    /// `/authorize` (RFC 6749 §4.1.1).
    pub async fn authorize(&self, parameters: &Parameters, browser: &Browser, navigation: Navigation) -> Step {
        let given = Given::new(parameters);
        let (client, redirect, was_given) = match self.bind(given).await {
            Ok(bound) => bound,
            Err(refusal) => return Step::Refuse(self.if_ours_to_tell(refusal).await),
        };
        // DCR-9: a page, never a redirect.
        match self.is_blocked(&client.id).await {
            Ok(false) => {}
            Ok(true) => return Step::Refuse(blocked_client()),
            Err(outage) => {
                return Step::Refuse(Refusal::new(outage.into(), RefusalPage::Unavailable));
            }
        }
        let to = ReplyTo { client: &client, redirect: &redirect, state: given.one("state").ok().flatten() };
        let checked = self.check(given, to).and_then(|terms| Ok((terms, self.holder(given)?)));
        let ((resource, scope, challenge), holder) = match checked {
            Ok(checked) => checked,
            Err(error) => return self.answer_error(to, &error, None),
        };
        let state = to.state.map(str::to_owned);
        let request = AuthorizationRequest {
            id: RequestId::from_bytes(self.parts.random.bytes()),
            reply: Reply::Redirect { to: redirect, was_given, state, challenge, holder },
            resource: resource.uri.clone(),
            scope,
            browser: browser.id,
            expires: self.parts.clock.now() + self.settings.request_life,
            stage: RequestStage::AwaitingConsent,
            client,
        };
        let asks_again = given.first("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "consent"));
        self.next_step(request, resource, navigation, asks_again).await
    }

    /// Who asks, and may it be answered at the address it names? Until both are proven nobody is redirected (AZ-2).
    async fn bind(&self, given: Given<'_>) -> Result<(Client, RedirectUri, bool), Refusal> {
        let bad_request = |error: Error| Refusal::new(error, RefusalPage::BadRequest);
        let (id, asked) = match (given.one("client_id"), given.one("redirect_uri")) {
            (Ok(Some(id)), Ok(asked)) => (id, asked),
            (Ok(None), _) => {
                return Err(bad_request(Error::new(ErrorCode::InvalidRequest, "client_id is missing")));
            }
            (Err(error), _) | (_, Err(error)) => return Err(bad_request(error)),
        };
        let mut client = self.find_client(id).await?;
        let redirect = self.redirect_of(&client, asked)?;
        if !client.may(GrantType::AuthorizationCode) {
            let error = Error::new(ErrorCode::UnauthorizedClient, "this client registered without authorization_code");
            return Err(bad_request(error));
        }
        if client.origin == ClientOrigin::Metadata {
            // A document may hold more than a form should carry, and it is looked at anew at every stage.
            client.redirect_uris.clear();
        }
        Ok((client, redirect, asked.is_some()))
    }

    /// The redirect URI that is asked for, if it is this client's now (AZ-4: asked at every stage anew).
    pub(super) fn redirect_of(&self, client: &Client, asked: Option<&str>) -> Result<RedirectUri, Refusal> {
        let refused = |why: String| {
            let page = RefusalPage::BadRedirect {
                requested: asked.unwrap_or_default().to_owned(),
                registered: client.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect(),
            };
            Refusal::new(Error::new(ErrorCode::InvalidRequest, why), page)
        };
        let (redirect, url) = client
            .redirect(asked, self.settings.registration.redirects.loopback)
            .map_err(|error: RedirectRefused| refused(error.to_string()))?;
        self.check_redirect(&url, client.origin).map_err(|unfit| match unfit {
            Unfit::Harmful(_) => refused(unfit.to_string()),
            Unfit::NotLet(_) => Refusal::new(
                Error::new(ErrorCode::InvalidRequest, unfit.to_string()),
                RefusalPage::RedirectNotLet { requested: redirect.as_str().to_owned() },
            ),
        })?;
        // A sealed registration holds no loopback port (D2), so there is none to answer at.
        if asked.is_none() && redirect.is_portless_loopback() {
            return Err(refused(RedirectRefused::Missing.to_string()));
        }
        Ok(redirect)
    }

    /// Everything whose failure the client is told by redirect, in the machine's order.
    fn check(&self, given: Given<'_>, to: ReplyTo<'_>) -> Result<(&Arc<Resource>, Scope, CodeChallenge), Error> {
        let given = given.check()?;
        let asked = AuthorizeAsked {
            client_id: to.client.id.as_str(),
            response_type: given.first("response_type"),
            scope: given.first("scope"),
            challenge: given.first("code_challenge"),
            method: given.first("code_challenge_method"),
        };
        let (mut machine, mut question) = Authorize::begin(&asked);
        let mut terms = None;
        loop {
            question = match question {
                AuthorizeQuestion::Bind => machine.bound(to.client, to.redirect),
                AuthorizeQuestion::Negotiate { scope: wanted } => {
                    let resource = self.resource(given.all("resource")).ok_or_else(not_ours)?;
                    let scope = narrow(&wanted, resource, to.client)?;
                    let next = machine.negotiated(to.client, &scope);
                    terms = Some((resource, scope));
                    next
                }
                AuthorizeQuestion::Settled { challenge } => {
                    let (resource, scope) =
                        terms.ok_or_else(|| Error::new(ErrorCode::ServerError, "the request could not be judged"))?;
                    return Ok((resource, scope, challenge));
                }
                AuthorizeQuestion::Refused(code, why) => return Err(Error::new(code, why)),
            };
        }
    }

    /// The key that the client will prove to hold when it redeems its code (`dpop_jkt`, RFC 9449 §10).
    fn holder(&self, given: Given<'_>) -> Result<Option<Thumbprint>, Error> {
        let named = given.first("dpop_jkt").filter(|_| self.parts.mint.dpop() != Dpop::Off);
        let bad = |bad: NotAThumbprint| Error::new(ErrorCode::InvalidRequest, format!("dpop_jkt: {bad}"));
        named.map(str::parse).transpose().map_err(bad)
    }

    /// The dispatcher: ask the human, or go upstream where the human need not be asked (D10, CON-8).
    pub(super) async fn next_step(
        &self,
        request: AuthorizationRequest,
        resource: &Resource,
        navigation: Navigation,
        asks_again: bool,
    ) -> Step {
        let Reply::Redirect { to, .. } = &request.reply else {
            return self.fail(&request, &gone(), None).await;
        };
        let may_skip = match self.settings.consent {
            ConsentMode::Off => true,
            ConsentMode::Always => false,
            ConsentMode::Remember if asks_again || navigation == Navigation::CrossSite => false,
            // Any program on the machine can listen there, so a remembered yes proves nothing.
            ConsentMode::Remember if to.is_loopback() || to.is_private_scheme() => false,
            ConsentMode::Remember => match self.is_remembered(&request, to).await {
                Ok(remembered) => remembered,
                Err(outage) => return self.fail(&request, &outage.into(), None).await,
            },
        };
        if may_skip {
            return self.go_upstream(request, Account::Any).await;
        }
        let destination = Destination::Redirect {
            host: to.host(),
            uri: to.as_str().to_owned(),
            is_loopback: to.is_loopback(),
            is_private_scheme: to.is_private_scheme(),
        };
        match self.held_before(&request, to, resource).await {
            Ok(held) => self.ask_consent(request, resource, &held, destination),
            Err(outage) => self.fail(&request, &outage.into(), None).await,
        }
    }

    /// What this browser allowed this client before, where the client now wants more for some operation (SC-3): the page
    /// then asks for what is new. Everywhere else the page shows all of it, and no record is read for that.
    async fn held_before(
        &self,
        request: &AuthorizationRequest,
        to: &RedirectUri,
        resource: &Resource,
    ) -> Result<Scope, Unavailable> {
        if self.settings.consent != ConsentMode::Remember || request.scope.is_within(&resource.scopes) {
            return Ok(Scope::default());
        }
        let held = self.remembered(request, to).await?.map(|consent| consent.scope.narrowed_to(&request.scope));
        Ok(held.filter(|held| *held != request.scope).unwrap_or_default())
    }

    async fn is_remembered(&self, request: &AuthorizationRequest, to: &RedirectUri) -> Result<bool, Unavailable> {
        Ok(self.remembered(request, to).await?.is_some_and(|consent| request.scope.is_within(&consent.scope)))
    }

    async fn remembered(
        &self,
        request: &AuthorizationRequest,
        to: &RedirectUri,
    ) -> Result<Option<Consent>, Unavailable> {
        let id = store::consent_id(&request.browser, &request.client, &to.host(), &request.resource);
        self.parts.store.get(&id).await
    }

    pub(super) fn ask_consent(
        &self,
        request: AuthorizationRequest,
        resource: &Resource,
        held: &Scope,
        destination: Destination,
    ) -> Step {
        let provider = self.parts.upstreams.get(&resource.upstream).map(|upstream| upstream.title().to_owned());
        Step::AskConsent(Box::new(ConsentPage {
            client: request.client.title().to_owned(),
            is_static: self.statics.contains_key(&request.client.id),
            document: self.document_of(&request.client),
            destination,
            resource_title: resource.title.clone(),
            resource: resource.uri.to_string(),
            scopes: request.scope.without(held),
            held_scopes: held.clone(),
            provider: provider.unwrap_or_else(|| resource.upstream.to_string()),
            upstream_scopes: resource.upstream_scopes.clone(),
            sealed_request: Form::seal(request, &self.parts.keyring, &*self.parts.random),
        }))
    }

    /// Who describes the client, where it describes itself (CIMD-12).
    fn document_of(&self, client: &Client) -> Option<DocumentHost> {
        let url = DocumentUrl::parse(client.id.as_str()).ok().filter(|_| client.origin == ClientOrigin::Metadata)?;
        Some(DocumentHost { host: url.authority().to_owned(), is_trusted: self.client_documents.is_trusted(&url) })
    }

    /// Sends the human to the provider. The record is written here, and here only; whoever comes a second time (a double
    /// click on "Allow") finds it and is sent to the same place (behaviour 18).
    pub(super) async fn go_upstream(&self, mut request: AuthorizationRequest, account: Account) -> Step {
        let random = &*self.parts.random;
        // In the generation, which does not rotate here, the end of the login: "too late" differs from "done already".
        let until = u32::try_from(request.expires.secs()).unwrap_or(u32::MAX);
        let (_, state) = hash::issue::<UpstreamState>(&self.parts.keyring, *request.id.as_bytes(), until, random);
        request.stage = RequestStage::AwaitingUpstream {
            state,
            verifier: Secret::new(URL_SAFE_NO_PAD.encode(random.bytes::<32>())),
            nonce: Secret::new(URL_SAFE_NO_PAD.encode(random.bytes::<16>())),
        };
        match self.leave(&mut request, account).await {
            Ok(step) => step,
            Err(error) => self.fail(&request, &error, None).await,
        }
    }

    async fn leave(&self, request: &mut AuthorizationRequest, account: Account) -> Result<Step, Error> {
        let resource = self.resource_at(&request.resource).ok_or_else(gone)?;
        let upstream = self.parts.upstreams.get(&resource.upstream).ok_or_else(gone)?;
        let first = upstream_url(upstream, resource, request, account).await?;
        if self.parts.store.insert(request).await? {
            return self.gone_upstream(first, request);
        }
        let earlier: Option<AuthorizationRequest> = self.parts.store.get(&request.id.to_string()).await?;
        // Taken between our two looks: the other click has come home already.
        let Some(earlier) = earlier.filter(|earlier| earlier.browser == request.browser) else {
            let error = Error::new(ErrorCode::AccessDenied, "this login is finished already");
            return Ok(Step::Refuse(Refusal::new(error, RefusalPage::AlreadyDone)));
        };
        let same = upstream_url(upstream, resource, &earlier, account).await?;
        self.gone_upstream(same, &earlier)
    }

    fn gone_upstream(&self, url: String, request: &AuthorizationRequest) -> Result<Step, Error> {
        let RequestStage::AwaitingUpstream { state, .. } = &request.stage else { return Err(gone()) };
        let state_cookie = StateCookie {
            suffix: cookie_suffix(request.id),
            value: self.state_mac(request.browser, state.expose()),
            life: request.expires.since(self.parts.clock.now()),
        };
        Ok(Step::GoUpstream { url, state_cookie })
    }

    fn state_mac(&self, browser: BrowserId, state: &str) -> Secret<String> {
        let mac = self.parts.keyring.mac(STATE_PURPOSE, &[browser.as_bytes(), state.as_bytes()]);
        Secret::new(URL_SAFE_NO_PAD.encode(mac))
    }

    /// Tells whoever waits for this request that it came to nothing: the client by redirect, or the device's human by a
    /// page and the device at its next poll.
    pub(super) async fn fail(&self, request: &AuthorizationRequest, error: &Error, done: Option<String>) -> Step {
        match &request.reply {
            Reply::Redirect { to, state, .. } => {
                let to = ReplyTo { client: &request.client, redirect: to, state: state.as_deref() };
                self.with_setback(self.answer_error(to, error, done), request, error)
            }
            Reply::Device(device) => self.fail_device(*device, request, error, done).await,
        }
    }

    /// An answer to the client: `outcome`, its `state` byte for byte if it sent one, and always our `iss` (AZ-7, AZ-8).
    pub(super) fn answer(&self, to: ReplyTo<'_>, outcome: &[(&str, &str)], done: Option<String>) -> Step {
        let mut parameters = outcome.to_vec();
        parameters.extend(to.state.map(|state| ("state", state)));
        parameters.push(("iss", &self.issuer));
        Step::Answer(Answer {
            url: to.redirect.with(&parameters),
            is_private_scheme: to.redirect.is_private_scheme(),
            client: to.client.title().to_owned(),
            setback: None,
            done,
        })
    }

    /// An error answer (RFC 6749 §4.1.2.1): our words only (S29). The cause goes to the log.
    pub(super) fn answer_error(&self, to: ReplyTo<'_>, error: &Error, done: Option<String>) -> Step {
        error.log("authorize");
        self.answer(to, &[("error", error.code.as_str()), ("error_description", &error.description)], done)
    }
}

async fn upstream_url(
    upstream: &Upstream,
    resource: &Resource,
    request: &AuthorizationRequest,
    account: Account,
) -> Result<String, Error> {
    let RequestStage::AwaitingUpstream { state, verifier, nonce } = &request.stage else { return Err(gone()) };
    let (state, nonce, scopes) = (state.expose(), nonce.expose(), &resource.upstream_scopes);
    let begin = Begin { state, nonce, verifier, scopes, account };
    Ok(upstream.begin(&begin).await?.into())
}

/// What the client gets of what it wants: never more than the operator offers, all of it where nothing known is named
/// (SC-1, behaviour 16). `offline_access` is tolerated and no permission (SEP-2207).
pub(super) fn narrow(wanted: &Scope, resource: &Resource, client: &Client) -> Result<Scope, Error> {
    let allowed = |scope: Scope| match &client.scope {
        Some(own) => scope.narrowed_to(own),
        None => scope,
    };
    // What single operations need (SC-3) is given only to those who ask for it.
    let (offered, more) = (allowed(resource.scopes.clone()), allowed(resource.every_scope()));
    let narrowed = wanted.narrowed_to(&more);
    let is_nothing = narrowed.iter().all(|token| token == OFFLINE_ACCESS);
    // Without a scope of every call the others would open nothing.
    let scope = match (is_nothing, resource.lets_in(&narrowed)) {
        (true, _) => offered,
        (false, true) => narrowed,
        (false, false) => narrowed.joined_with(&offered),
    };
    if scope.is_empty() {
        return Err(Error::new(ErrorCode::InvalidScope, "this client may not use any scope of this resource"));
    }
    Ok(scope)
}

/// Names the state cookie of one login, so that parallel logins in one browser do not collide.
pub(super) fn cookie_suffix(id: RequestId) -> String {
    let mut text = id.to_string();
    text.truncate(8);
    text
}

pub(super) fn unknown_client() -> Refusal {
    Refusal::new(Error::new(ErrorCode::InvalidClient, "client_id is not known here"), RefusalPage::UnknownClient)
}

/// The page is told, and the log; the app's developer hears the same words at `/token`.
pub(super) fn blocked_client() -> Refusal {
    Refusal::new(Error::new(ErrorCode::InvalidClient, BLOCKED), RefusalPage::BlockedClient)
}

/// What a client hears that the operator has shut out.
pub(super) const BLOCKED: &str = "this client was blocked by the operator";

pub(super) fn not_ours() -> Error {
    Error::new(ErrorCode::InvalidTarget, "resource is missing or names no server behind this one")
}

pub(super) fn gone() -> Error {
    Error::new(ErrorCode::ServerError, "the resource or its provider is no longer configured")
}
