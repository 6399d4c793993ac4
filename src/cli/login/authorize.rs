//! The authorization code flow of a native app (RFC 8252): PKCE S256, state, `resource`, a listener on loopback, and a
//! person at a browser here or elsewhere.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{AuthUrl, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use url::Url;

use super::{
    Outcome, callback, client,
    discovery::Place,
    keep::{Client, Login, Tokens},
    report::{Report, Stopped},
    rules as rule, say,
    server::Flow,
    token,
    wire::Wire,
};
use crate::{
    crypto::Random,
    domain::{CodeVerifier, Secret},
};

/// Where a client of ours listens when nothing says otherwise. The port is put in when it is known.
const CALLBACK: &str = "http://127.0.0.1/callback";

/// How the person takes part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Human {
    /// Whether a browser is opened here.
    pub(super) browser: bool,
    /// How long they may take.
    pub(super) patience: Duration,
}

/// What both flows need.
pub(super) struct Scene<'a> {
    pub(super) wire: &'a Wire,
    pub(super) random: &'a dyn Random,
    pub(super) place: &'a Place,
    pub(super) given: &'a client::Given,
    /// The login that is kept by now, whose client may do again.
    pub(super) kept: Option<&'a Login>,
    pub(super) scope: Option<&'a str>,
    pub(super) human: Human,
    pub(super) now: u64,
}

/// Client, authorization, tokens.
pub(super) async fn log_in(scene: &Scene<'_>, report: &mut Report) -> Outcome<(Client, Tokens)> {
    let Place { server, resource, .. } = scene.place;
    let (client, callback) = introduced(scene, report).await?;
    let oauth = token::client(&client, &server.token);

    report.step("authorization");
    let endpoint = server.authorization.clone();
    let endpoint = endpoint.ok_or_else(|| report.fails(&rule::AS_ENDPOINT, "no authorization_endpoint"))?;
    let fresh = || URL_SAFE_NO_PAD.encode(scene.random.bytes::<32>());
    let verifier = CodeVerifier::parse(&fresh())?;
    let state = Secret::new(fresh());
    let redirect = RedirectUrl::from_url(callback.redirect_uri.clone());
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.expose().to_owned()));
    let asking = oauth.clone().set_auth_uri(AuthUrl::from_url(endpoint.clone()));
    let mut request = asking
        .authorize_url(|| CsrfToken::new(state.expose().clone()))
        .set_redirect_uri(Cow::Borrowed(&redirect))
        .set_pkce_challenge(challenge)
        .add_extra_param("resource", resource);
    for scope in scene.scope.iter().flat_map(|scope| scope.split_whitespace()) {
        request = request.add_scope(Scope::new(scope.to_owned()));
    }
    if scene.scope.is_some_and(|scope| scope.split_whitespace().any(|one| one == "offline_access")) {
        // OIDC Core §11: without it some give no refresh token.
        request = request.add_extra_param("prompt", "consent");
    }
    let (url, _) = request.url();
    report.asked(format!(
        "browser to {endpoint} (response_type code, PKCE S256, state, redirect_uri {}, resource {resource}, scope {:?})",
        callback.redirect_uri,
        scene.scope.unwrap_or_default(),
    ));
    open(&url, scene.human);
    let waiting = callback.answer(!scene.human.browser);
    let Some(query) = tokio::time::timeout(scene.human.patience, waiting).await.ok().flatten() else {
        let came = format!("nothing in {} s", scene.human.patience.as_secs());
        return Err(report.fails(&rule::ANSWERED, came).into());
    };
    report.meets(&rule::ANSWERED, "an answer");
    let asked = callback::Asked { state: &state, issuer: &server.issuer, promises_iss: server.promises_iss };
    let code = callback::judged(report, &query, &asked)?;

    report.step("token");
    report.asked(format!("POST {} (grant_type authorization_code)", server.token));
    let answer = token::redeem(scene.wire, &oauth, &code, &verifier, &redirect, resource).await;
    let answer = answer.map_err(|error| {
        let secrets = [code.expose().as_str(), verifier.expose(), secret_of(&client)];
        report.fails(&rule::TOKEN, token::told(&error, &secrets))
    })?;
    let tokens = token::judged(scene.wire, report, &answer, asked_for(scene, &client), scene.now)?;
    Ok((client, tokens))
}

/// What a token answer is compared with.
pub(super) fn asked_for<'a>(scene: &'a Scene<'_>, client: &Client) -> token::Asked<'a> {
    token::Asked {
        resource: &scene.place.resource,
        scope: scene.scope,
        spent: None,
        is_public: client.secret.is_none(),
    }
}

/// The secret, or nothing: for masking.
pub(super) fn secret_of(client: &Client) -> &str {
    client.secret.as_ref().map_or("", |secret| secret.expose().as_str())
}

/// A client and a listener that fit each other.
async fn introduced(scene: &Scene<'_>, report: &mut Report) -> Outcome<(Client, callback::Callback)> {
    if let Some(client) = scene.given.client(scene.wire, report, &scene.place.server).await? {
        let callback = callback::Callback::open(client.redirect_uri.as_deref().unwrap_or(CALLBACK)).await?;
        return Ok((client, callback));
    }
    // One that was registered before, if its port can be had again: many servers compare ports as well, and each
    // registration stays for ever at most of them.
    if let Some(client) = known(scene, Flow::Browser)
        && let Some(uri) = &client.redirect_uri
        && let Ok(callback) = callback::Callback::open(uri).await
    {
        report.step("client");
        report.asked(format!("the client of the last login, {}", client::shortened(&client.id)));
        return Ok((client.clone(), callback));
    }
    let callback = callback::Callback::open(CALLBACK).await?;
    let uri = callback.redirect_uri.to_string();
    let client = client::register(scene.wire, report, &scene.place.server, &uri, scene.scope, Flow::Browser).await?;
    Ok((client, callback))
}

/// The client that is kept for this issuer: never one of another's (SEP-2352).
pub(super) fn known<'a>(scene: &Scene<'a>, flow: Flow) -> Option<&'a Client> {
    let kept = scene.kept.filter(|kept| kept.issuer == scene.place.server.issuer)?;
    Some(&kept.client).filter(|client| client.is_registered && client.for_device == (flow == Flow::Device))
}

/// Opens the browser, and says where to go in case it does not.
fn open(url: &Url, human: Human) {
    if human.browser {
        let target = url.to_string();
        // On a thread of its own: a browser in the terminal holds whoever opened it.
        std::thread::spawn(move || drop(webbrowser::open(&target)));
        say(&format!("Your browser opens. If it does not, go to:\n\n  {url}\n"));
    } else {
        say(&format!(
            "Open this address in a browser:\n\n  {url}\n\nIf the browser is on another machine, its last page will not \
             load: paste the address of that page here.\n"
        ));
    }
}

impl From<Stopped> for super::Ended {
    fn from(stopped: Stopped) -> Self {
        Self::Step(stopped)
    }
}
