//! The human is back from the provider: their request is taken out, once, and becomes a Grant and a code.
//!
//! The order is the defence. Whatever a stranger can bring about (a forged state, a foreign browser, another provider's
//! callback) fails before the request is touched, so nobody can burn another person's login (S2, S12).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Asker, AuthorizationServer, Browser, Error, ErrorCode, Parameters, Refusal, RefusalPage, Step,
    authorize::{ReplyTo, STATE_PURPOSE, blocked_client, cookie_suffix, gone},
    consent::Standing,
    parameters::Given,
    policy,
};
use crate::{
    crypto::hash,
    domain::{
        AuthorizationCode, AuthorizationRequest, Credential, Grant, GrantId, GrantStage, GrantType, Identity, Reply,
        RequestId, RequestStage, UpstreamLogin, UpstreamName, UpstreamState, UpstreamTokens,
    },
    store::Change,
    upstream::{Failed, Finish, Upstream},
};

/// The parameters of a callback, each once.
struct Returned<'a> {
    state: &'a str,
    iss: Option<&'a str>,
    outcome: Outcome<'a>,
}

/// What the provider says.
enum Outcome<'a> {
    Code(&'a str),
    Error(&'a str),
}

/// What the deciding step found.
enum Taken {
    /// This callback is the one.
    Won(Box<AuthorizationRequest>),
    /// Another was, or time has run out. Whose login it was, if it has begun anew.
    Gone(Option<Asker>),
    /// The request waits for another provider, or another browser.
    NotHere(Asker),
}

impl AuthorizationServer {
    /// `/callback/{upstream}`. `state_cookie` looks up the cookie with that suffix.
    pub async fn callback(
        &self,
        upstream: &str,
        parameters: &Parameters,
        browser: Option<&Browser>,
        state_cookie: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Step {
        let (upstream, returned, state) = match self.recognise_return(upstream, parameters) {
            Ok(recognised) => recognised,
            Err(refusal) => return Step::Refuse(self.if_ours_to_tell(refusal).await),
        };
        let Some(browser) = browser.filter(|browser| self.is_begun_in(browser, &returned, &state, state_cookie)) else {
            return self.refuse_stranger(&state).await;
        };
        // RFC 9207, also for errors: of a foreign issuer nothing is believed, not even that it failed (UP-2).
        if let Err(failed) = upstream.check_iss(returned.iss).await {
            return not_from_there(failed);
        }
        let request = match self.take(&state, returned.state, upstream.name(), browser).await {
            Ok(Taken::Won(request)) => request,
            Ok(Taken::Gone(None)) => return Step::Refuse(self.gone(&state)),
            Ok(Taken::Gone(Some(asker))) => return Step::Refuse(self.gone(&state).of(asker)),
            Ok(Taken::NotHere(asker)) => return Step::Refuse(bad("this callback belongs to another login").of(asker)),
            Err(error) => return unavailable(error),
        };
        self.finish_login(&request, upstream, &returned).await.of(&request)
    }

    /// The request is taken out: from the provider's answer to what the client, or a device, is told.
    async fn finish_login(&self, request: &AuthorizationRequest, upstream: &Upstream, returned: &Returned<'_>) -> Step {
        let done = Some(cookie_suffix(request.id));
        if let Err(refusal) =
            self.still_answerable((&request.client.id, request.client.edition.as_deref()), &request.reply).await
        {
            return Step::Refuse(refusal);
        }
        match self.conclude(request, upstream, returned).await {
            Ok(concluded) => match self.hand_over(request, upstream, concluded, &done).await {
                Ok(step) => step,
                Err(error) => self.fail(request, &error, done).await,
            },
            Err(Ended::Told(error)) => self.fail(request, &error, done).await,
            Err(Ended::TurnedAway(error, identity)) => self.turn_away(request, upstream, &identity, error).await,
            Err(Ended::Refused(refusal)) => Step::Refuse(refusal),
        }
    }

    /// Everything that can be judged without the store.
    fn recognise_return<'a>(
        &'a self,
        upstream: &str,
        parameters: &'a Parameters,
    ) -> Result<(&'a Upstream, Returned<'a>, Credential<UpstreamState>), Refusal> {
        let refuse = |error: Error| Refusal::new(error, RefusalPage::BadRequest);
        let given = Given::new(parameters).check().map_err(refuse)?;
        let upstream = UpstreamName::parse(upstream)
            .ok()
            .and_then(|name| self.parts.upstreams.get(&name))
            .ok_or_else(|| bad("there is no such provider here"))?;
        let state = given.first("state").ok_or_else(|| bad("state is missing"))?;
        let outcome = match (given.first("code"), given.first("error")) {
            (Some(code), None) => Outcome::Code(code),
            (None, Some(error)) => Outcome::Error(error),
            _ => return Err(bad("exactly one of code and error is expected")),
        };
        let credential = hash::authenticate(&self.parts.keyring, state).map_err(|_| bad("state was not made here"))?;
        Ok((upstream, Returned { state, iss: given.first("iss"), outcome }, credential))
    }

    /// CON-6: the cookie that this browser was given when it left for the provider, and nobody else was.
    fn is_begun_in(
        &self,
        browser: &Browser,
        returned: &Returned<'_>,
        state: &Credential<UpstreamState>,
        state_cookie: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> bool {
        let suffix = cookie_suffix(RequestId::from_bytes(*state.id()));
        let mac = state_cookie(&suffix).and_then(|cookie| URL_SAFE_NO_PAD.decode(cookie).ok());
        let parts: [&[u8]; 2] = [browser.id.as_bytes(), returned.state.as_bytes()];
        mac.is_some_and(|mac| self.parts.keyring.mac_is(STATE_PURPOSE, &parts, &mac))
    }

    /// S2: stops a login begun in one browser from being finished in another. Nothing is taken and nobody is called. A
    /// reload after the end comes here too, since the cookie was dropped then: it is told that all is done (behaviour 18).
    async fn refuse_stranger(&self, state: &Credential<UpstreamState>) -> Step {
        let id = RequestId::from_bytes(*state.id()).to_string();
        match self.parts.store.get::<AuthorizationRequest>(&id).await {
            Ok(None) => Step::Refuse(self.gone(state)),
            Ok(Some(request)) => {
                let error = Error::new(ErrorCode::AccessDenied, "the login was begun in another browser");
                Step::Refuse(Refusal::new(error, RefusalPage::OtherBrowser)).of(&request)
            }
            Err(outage) => unavailable(outage.into()),
        }
    }

    /// The deciding step: of many callbacks with one state, one gets the request. A request that waits for another
    /// provider stays where it is (mix-up, UP-3).
    async fn take(
        &self,
        state: &Credential<UpstreamState>,
        returned: &str,
        upstream: &UpstreamName,
        browser: &Browser,
    ) -> Result<Taken, Error> {
        let id = RequestId::from_bytes(*state.id()).to_string();
        let is_here = |request: &AuthorizationRequest| {
            request.browser == browser.id
                && self.resource_at(&request.resource).is_none_or(|resource| resource.upstream == *upstream)
        };
        // A form that was sent once more has begun this login anew, under the same name. The answer to the old one is
        // spent, and at the provider a spent code may end the login that it bought.
        let is_old = |request: &AuthorizationRequest| match &request.stage {
            RequestStage::AwaitingUpstream { state, .. } => !hash::same(state.expose().as_bytes(), returned.as_bytes()),
            RequestStage::AwaitingConsent => true,
        };
        let decide = |request: Option<AuthorizationRequest>| match request {
            None => (Change::Keep, Taken::Gone(None)),
            Some(request) if is_old(&request) => (Change::Keep, Taken::Gone(Some(Asker::of(&request)))),
            Some(request) if is_here(&request) => (Change::Remove, Taken::Won(Box::new(request))),
            Some(request) => (Change::Keep, Taken::NotHere(Asker::of(&request))),
        };
        Ok(self.parts.store.update(&id, decide).await?)
    }

    fn gone(&self, state: &Credential<UpstreamState>) -> Refusal {
        let is_late = self.parts.clock.now().secs() >= u64::from(state.generation());
        let (why, page) = if is_late {
            ("the login took too long", RefusalPage::Expired)
        } else {
            ("this login is finished already", RefusalPage::AlreadyDone)
        };
        Refusal::new(Error::new(ErrorCode::InvalidRequest, why), page)
    }

    /// From the provider's answer to our code.
    async fn conclude(
        &self,
        request: &AuthorizationRequest,
        upstream: &Upstream,
        returned: &Returned<'_>,
    ) -> Result<(UpstreamTokens, Identity), Ended> {
        let code = match returned.outcome {
            Outcome::Code(code) => code,
            Outcome::Error(error) => return Err(Ended::Told(denied_upstream(error))),
        };
        let RequestStage::AwaitingUpstream { verifier, nonce, .. } = &request.stage else {
            return Err(Ended::Told(Error::new(ErrorCode::ServerError, "the login was not under way")));
        };
        let finish = Finish { code, iss: returned.iss, verifier, nonce: nonce.expose() };
        let (tokens, identity) = upstream.finish(&finish).await.map_err(Error::from)?;
        let resource = self
            .resource_at(&request.resource)
            .ok_or_else(|| Error::new(ErrorCode::ServerError, "the resource is no longer configured"))?;
        if let Err(error) = policy::admit(resource, &identity) {
            return Err(Ended::TurnedAway(error, Box::new(identity)));
        }
        // A browser that is sent round in circles gets out of it here.
        self.by_subject.pass(identity.subject.as_str()).map_err(|wait| {
            let why = "too many logins of this person; wait, then try again";
            Error::new(ErrorCode::TemporarilyUnavailable, why).after(wait)
        })?;
        if self.note_client(&request.client).await.map_err(Error::from)? == Standing::Blocked {
            return Err(Ended::Refused(blocked_client()));
        }
        Ok((tokens, identity))
    }

    /// The person is known and admitted: a code for the client, or the go-ahead for the device.
    async fn hand_over(
        &self,
        request: &AuthorizationRequest,
        upstream: &Upstream,
        (tokens, identity): (UpstreamTokens, Identity),
        done: &Option<String>,
    ) -> Result<Step, Error> {
        match &request.reply {
            Reply::Device(device) => {
                self.approve_device(*device, request, upstream.name(), (tokens, identity), done.clone()).await
            }
            Reply::Redirect { to, state, .. } => {
                let code = self.issue_code(request, upstream.name(), tokens, identity).await?;
                let to = ReplyTo { client: &request.client, redirect: to, state: state.as_deref() };
                Ok(self.answer(to, &[("code", &code)], done.clone()))
            }
        }
    }

    /// Grant(Issued) and the code that names it (AZ-6: bound to client, redirect URI, challenge, resource and person).
    async fn issue_code(
        &self,
        request: &AuthorizationRequest,
        upstream: &UpstreamName,
        tokens: UpstreamTokens,
        identity: Identity,
    ) -> Result<String, Error> {
        let Reply::Redirect { to, was_given, challenge, holder, .. } = &request.reply else { return Err(gone()) };
        let random = &*self.parts.random;
        let id = GrantId::from_bytes(random.bytes());
        let (code, text) = hash::issue::<AuthorizationCode>(&self.parts.keyring, *id.as_bytes(), 0, random);
        let now = self.parts.clock.now();
        let grant = Grant {
            id,
            client: request.client.id.clone(),
            identity,
            resource: request.resource.clone(),
            scope: request.scope.clone(),
            login: Some(UpstreamLogin { upstream: upstream.clone(), tokens }),
            actor: None,
            created: now,
            expires: now + self.settings.code_life,
            stage: GrantStage::Issued {
                code: hash::secret_hash(&code),
                redirect: was_given.then(|| to.as_str().to_owned()),
                challenge: challenge.clone(),
                may_refresh: request.client.may(GrantType::RefreshToken),
                holder: *holder,
            },
        };
        if !self.parts.store.insert(&grant).await? {
            return Err(Error::new(ErrorCode::ServerError, "the grant could not be kept"));
        }
        tracing::info!(
            grant = %id, login = %request.id, client = request.client.title(), subject = %grant.identity.subject,
            resource = %grant.resource, "code issued"
        );
        Ok(text.expose().clone())
    }
}

/// How a login ends without a code.
enum Ended {
    /// The client is told by redirect.
    Told(Error),
    /// The same, but the person comes first: it is their account that is not admitted.
    TurnedAway(Error, Box<Identity>),
    /// The client is not to be answered.
    Refused(Refusal),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// The provider's error code, translated; its description stays outside (AZ-10, S29).
fn denied_upstream(error: &str) -> Error {
    match error {
        "access_denied"
        | "consent_required"
        | "interaction_required"
        | "login_required"
        | "account_selection_required"
        | "user_cancelled_login"
        | "user_cancelled_authorize" => Error::new(ErrorCode::AccessDenied, "the identity provider denied the login"),
        "temporarily_unavailable" => {
            Error::new(ErrorCode::TemporarilyUnavailable, "the identity provider is unavailable, try again")
        }
        _ => Error::new(ErrorCode::ServerError, "the login at the identity provider failed")
            .because(format!("the provider answered {:?}", error.chars().take(64).collect::<String>())),
    }
}

fn bad(why: &'static str) -> Refusal {
    Refusal::new(Error::new(ErrorCode::InvalidRequest, why), RefusalPage::BadRequest)
}

/// UP-2: nothing of such an answer is believed or shown. It is the sender's fault, unless we could not look it up.
fn not_from_there(failed: Failed) -> Step {
    let error = match failed {
        Failed::Unreachable { .. } => failed.into(),
        Failed::Denied | Failed::Refused { .. } => {
            Error::new(ErrorCode::InvalidRequest, "this answer does not come from the identity provider")
                .because(failed)
        }
    };
    error.log("callback");
    Step::Refuse(Refusal::new(error, RefusalPage::ProviderFailed))
}

fn unavailable(error: Error) -> Step {
    error.log("callback");
    Step::Refuse(Refusal::new(error, RefusalPage::Unavailable))
}
