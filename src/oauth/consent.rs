//! The human's yes or no. Only a yes leaves anything behind.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    AuthorizationServer, Browser, ConsentMode, Error, ErrorCode, Navigation, Parameters, Refusal, RefusalPage, Step,
    authorize::{blocked_client, gone, unknown_client},
    form::Form,
    parameters::Given,
};
use crate::{
    domain::{
        ApprovedClient, AuthorizationRequest, BrowserId, Client, ClientId, ClientOrigin, Consent, Instant, Reply,
        RequestId, Secret,
    },
    store::{self, Change, Unavailable},
    upstream::Account,
};

const BROWSER_PURPOSE: &str = "oauth/browser";
/// A client record is renewed at most this often (architecture §4).
const A_DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

enum Decision {
    Approve,
    /// As before, but with another account at the provider.
    Another,
    Deny,
}

impl AuthorizationServer {
    /// The browser behind a cookie of ours, or a new one. The cookie is the browser's name and its MAC, so that nobody
    /// can pass for another browser by knowing its name.
    #[must_use]
    pub fn meet(&self, cookie: Option<&str>) -> Browser {
        if let Some(id) = cookie.and_then(|cookie| self.recognise(cookie)) {
            return Browser { id, new_cookie: None };
        }
        let id = BrowserId::from_bytes(self.parts.random.bytes());
        let mac = self.parts.keyring.mac(BROWSER_PURPOSE, &[id.as_bytes()]);
        Browser { id, new_cookie: Some(Secret::new(format!("{id}.{}", URL_SAFE_NO_PAD.encode(mac)))) }
    }

    fn recognise(&self, cookie: &str) -> Option<BrowserId> {
        let (id, mac) = cookie.split_once('.')?;
        let id: BrowserId = id.parse().ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.parts.keyring.mac_is(BROWSER_PURPOSE, &[id.as_bytes()], &mac).then_some(id)
    }

    /// The human's answer: form fields `request` (sealed) and `decision` = `approve` | `deny`.
    ///
    /// A form that is sent twice goes to the same place twice while its login is under way. Sent once more after that,
    /// it begins a login of its own: harmless, since it can only come from the browser that was shown the page, and the
    /// code it leads to is bound to the same client, redirect URI and PKCE challenge.
    pub async fn decide(&self, form: &Parameters, browser: &Browser) -> Step {
        let (request, decision) = match self.open_form(form, browser).await {
            Ok(opened) => opened,
            Err(refusal) => return Step::Refuse(self.if_ours_to_tell(refusal).await),
        };
        if request.browser != browser.id {
            return self.ask_here(request, browser).await;
        }
        let account = match decision {
            Decision::Another => Account::Another,
            Decision::Approve | Decision::Deny => Account::Any,
        };
        let outcome = match decision {
            Decision::Approve | Decision::Another => self.approve(&request).await,
            Decision::Deny => self.deny(&request).await,
        };
        match outcome {
            Ok(None) => self.go_upstream(request, account).await,
            Ok(Some(refusal)) => Step::Refuse(refusal).of(&request),
            Err(error) => self.fail(&request, &error, None).await,
        }
    }

    /// Asks in this browser, which was shown the page under another name: of several tabs that came at once without a
    /// cookie each was given one, and the last of them stayed. Whatever the form says was decided, nothing was (CON-4); it
    /// is as if the client's link had been opened here, so the page is shown, and the login has a name of its own.
    async fn ask_here(&self, request: AuthorizationRequest, browser: &Browser) -> Step {
        let id = RequestId::from_bytes(self.parts.random.bytes());
        let request = AuthorizationRequest { id, browser: browser.id, ..request };
        match self.parts.resources.iter().find(|resource| resource.uri == request.resource) {
            Some(resource) => self.next_step(request, resource, Navigation::CrossSite, true).await,
            None => self.fail(&request, &gone(), None).await,
        }
    }

    /// The request in the form, if it was made for this browser (CON-4) or may be shown to it anew ([`Self::ask_here`]),
    /// is in time and may still be answered (AZ-4).
    async fn open_form(
        &self,
        form: &Parameters,
        browser: &Browser,
    ) -> Result<(AuthorizationRequest, Decision), Refusal> {
        let bad = |error: Error| Refusal::new(error, RefusalPage::BadRequest);
        let given = Given::new(form).check().map_err(bad)?;
        let decision = match given.first("decision") {
            Some("approve") => Decision::Approve,
            Some("another_account") => Decision::Another,
            Some("deny") => Decision::Deny,
            _ => return Err(bad(Error::new(ErrorCode::InvalidRequest, "decision must be approve or deny"))),
        };
        let opened = given.first("request").and_then(|sealed| Form::open(sealed, &self.parts.keyring));
        // Also what was sealed under a key that has been retired since.
        let expired = |why| Refusal::new(Error::new(ErrorCode::InvalidRequest, why), RefusalPage::Expired);
        let form = opened.ok_or_else(|| expired("the form cannot be read"))?;
        let may_be_shown = browser.is_known() && matches!(form.reply, Reply::Redirect { .. });
        if form.browser != browser.id && !may_be_shown {
            let error = Error::new(ErrorCode::AccessDenied, "the login was begun in another browser");
            return Err(Refusal::new(error, RefusalPage::OtherBrowser));
        }
        if form.expires <= self.parts.clock.now() {
            return Err(expired("the form is too old"));
        }
        let client = self.still_answerable((&form.client, form.edition.as_deref()), &form.reply).await?;
        Ok((form.of(client), decision))
    }

    /// AZ-4: the client and its redirect URI are looked at anew, since hours of configuration may lie between two stages.
    /// What a document says now must also be what the page showed (CIMD-16).
    pub(super) async fn still_answerable(
        &self,
        (id, edition): (&ClientId, Option<&str>),
        reply: &Reply,
    ) -> Result<Client, Refusal> {
        let client = self.find_client(id.as_str()).await?;
        if client.edition.as_deref() != edition {
            let error = Error::new(ErrorCode::InvalidRequest, "the client has changed since the login began");
            return Err(Refusal::new(error, RefusalPage::Expired));
        }
        match reply {
            Reply::Redirect { to, .. } => self.redirect_of(&client, Some(to.as_str())).map(drop)?,
            Reply::Device(_) => self.check_device_client(&client).map_err(|_| unknown_client())?,
        }
        Ok(client)
    }

    /// CON-2, CON-8: what the human agreed to, and with whom. Nothing was written before.
    async fn approve(&self, request: &AuthorizationRequest) -> Result<Option<Refusal>, Error> {
        if self.note_client(&request.client).await? == Standing::Blocked {
            return Ok(Some(blocked_client()));
        }
        if let Reply::Device(device) = &request.reply
            && let Some(refusal) = self.device_is_over(*device).await?
        {
            return Ok(Some(refusal));
        }
        // A yes to a device is for that one device.
        if let (Reply::Redirect { to, .. }, ConsentMode::Remember) = (&request.reply, self.settings.consent) {
            let now = self.parts.clock.now();
            let consent = Consent {
                browser: request.browser,
                client: request.client.id.clone(),
                edition: request.client.edition.clone(),
                redirect_host: to.host(),
                resource: request.resource.clone(),
                scope: request.scope.clone(),
                given: now,
                expires: now + self.settings.consent_life,
            };
            self.parts.store.put(&consent).await?;
        }
        tracing::info!(client = request.client.title(), resource = %request.resource, scope = %request.scope, login = %request.id, "consent given");
        Ok(None)
    }

    /// Also ends what an earlier "Allow" on the same page has begun.
    async fn deny(&self, request: &AuthorizationRequest) -> Result<Option<Refusal>, Error> {
        self.parts.store.remove::<AuthorizationRequest>(&request.id.to_string()).await?;
        Err(Error::new(ErrorCode::AccessDenied, "the person declined"))
    }

    /// Keeps what outlives the process of a client that a human lets in, and says whether the operator has shut it out.
    pub(super) async fn note_client(&self, client: &Client) -> Result<Standing, Unavailable> {
        let standing = self.note(client).await?;
        if client.origin == ClientOrigin::Metadata && standing == Standing::Welcome {
            self.client_documents.keep(client).await;
        }
        Ok(standing)
    }

    async fn note(&self, client: &Client) -> Result<Standing, Unavailable> {
        let (now, id) = (self.parts.clock.now(), store::client_id(&client.id));
        // Mostly it is there already: nothing is to be written, nor waited for.
        match self.parts.store.get::<ApprovedClient>(&id).await? {
            Some(known) if known.blocked => return Ok(Standing::Blocked),
            Some(known) if now.since(known.last_seen) < A_DAY => return Ok(Standing::Welcome),
            _ => {}
        }
        let note = |old: Option<ApprovedClient>| match old {
            Some(known) if known.blocked => (Change::Keep, Standing::Blocked),
            known => (Change::Put(seen(client, known, now)), Standing::Welcome),
        };
        self.parts.store.update(&id, note).await
    }
}

/// Whether the operator lets a client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Welcome,
    Blocked,
}

fn seen(client: &Client, known: Option<ApprovedClient>, now: Instant) -> ApprovedClient {
    ApprovedClient {
        id: client.id.clone(),
        name: client.name.as_ref().map(|name| name.as_str().to_owned()),
        origin: client.origin,
        first_seen: known.map_or(now, |known| known.first_seen),
        last_seen: now,
        blocked: false,
        expires: now + ApprovedClient::LIFE,
    }
}
