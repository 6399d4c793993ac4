//! What `check` thinks of sound settings: the operator rows of experience, each with its remedy.

use crate::{
    config::Settings,
    domain::{Injection, Resource},
    oauth::ConsentMode,
    upstream,
};

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    Ok,
    Note,
    Warning,
    Failure,
}

/// One line of `check`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    /// What was looked at.
    pub(super) about: String,
    pub(super) text: String,
}

impl Finding {
    pub(super) fn new(grade: Grade, about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { grade, about: about.into(), text: text.into() }
    }
}

/// Everything that can be told without the network.
pub(super) fn of(settings: &Settings) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        settings.warnings.iter().map(|text| Finding::new(Grade::Warning, "settings", text)).collect();
    findings.extend(consent(settings));
    findings.extend(address(settings));
    findings.extend(admin(settings));
    for upstream in &settings.upstreams {
        let resources = settings.resources.iter().filter(|r| r.upstream == upstream.name);
        findings.extend(provider(upstream, &resources.collect::<Vec<_>>()));
    }
    findings
}

/// Row 23: a public proxy without consent is a confused deputy.
fn consent(settings: &Settings) -> Option<Finding> {
    let is_public = !settings.public_url.is_loopback();
    (is_public && settings.oauth.consent == ConsentMode::Off).then(|| {
        let text =
            "off on a public address: any registered client gets a code from whoever is logged in; use \"remember\"";
        Finding::new(Grade::Failure, "consent.mode", text)
    })
}

/// Row 26: hosted clients come to port 443 of public names only.
fn address(settings: &Settings) -> Option<Finding> {
    let url = &settings.public_url;
    let text = if url.is_loopback() {
        "is on loopback: only clients on this machine reach it"
    } else if url.as_url().port().is_some() {
        "has a port: hosted clients such as claude.ai come to port 443 only"
    } else {
        return None;
    };
    Some(Finding::new(Grade::Note, "public_url", text))
}

fn admin(settings: &Settings) -> Option<Finding> {
    let address = settings.admin_listen.filter(|address| !address.ip().is_loopback())?;
    let text = format!("{address} is not loopback: let only probes and operators reach it");
    Some(Finding::new(Grade::Note, "admin.listen", text))
}

fn provider(settings: &upstream::Settings, resources: &[&Resource]) -> Option<Finding> {
    let about = format!("upstream.{}", settings.name);
    let params = &settings.provider.params;
    match settings.provider.name.as_str() {
        // Row 13.
        "google" if params.get("access_type").is_none_or(|value| value != "offline") => {
            let text =
                "access_type is not \"offline\": Google gives no refresh token, and people log in again every hour";
            Some(Finding::new(Grade::Warning, about, text))
        }
        // Row 14.
        "github" if settings.client_id.starts_with("Iv") => Some(Finding::new(
            Grade::Note,
            about,
            "a GitHub App by its id: scopes are fixed in the app, tokens may expire",
        )),
        "github" if settings.client_id.starts_with("Ov") => {
            Some(Finding::new(Grade::Note, about, "a GitHub OAuth App by its id: its tokens do not expire"))
        }
        // Row 17.
        "auth0" if !params.contains_key("audience") && resources.iter().any(|r| injects_token(r)) => {
            let text = "no `audience` among authorize_params: Auth0 gives an opaque token, which most APIs refuse";
            Some(Finding::new(Grade::Warning, about, text))
        }
        _ => None,
    }
}

fn injects_token(resource: &Resource) -> bool {
    resource.inject.iter().any(|injection| matches!(injection, Injection::UpstreamToken))
}
