//! The authorization server's metadata (RFC 8414, OpenID Connect Discovery), compared with what it must say.

use serde::Deserialize;
use url::Url;

use super::{
    document::{document, with_path},
    report::{Report, Stopped},
    rules as rule,
    wire::Wire,
};

/// Metadata of an authorization server (RFC 8414 §2), as far as a client uses it; checked.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) authorization: Option<Url>,
    pub(super) token: Url,
    pub(super) registration: Option<Url>,
    pub(super) revocation: Option<Url>,
    pub(super) device: Option<Url>,
    pub(super) scopes: Vec<String>,
    pub(super) auth_methods: Vec<String>,
    pub(super) takes_documents: bool,
    pub(super) promises_iss: bool,
}

/// How the login will go, as far as discovery must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Browser,
    Device,
}

/// RFC 8414 §2, raw.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    response_types_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    client_id_metadata_document_supported: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// The three places of ASM-1, in the order in which MCP names them.
pub(super) fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut places = vec![with_path(issuer, &format!("/.well-known/oauth-authorization-server{path}"))];
    places.push(with_path(issuer, &format!("/.well-known/openid-configuration{path}")));
    if !path.is_empty() {
        places.push(with_path(issuer, &format!("{path}/.well-known/openid-configuration")));
    }
    places
}

/// Fetches and checks the metadata of this issuer.
pub(super) async fn metadata(wire: &Wire, report: &mut Report, issuer: &str, flow: Flow) -> Result<Server, Stopped> {
    report.step("server metadata");
    let base = match wire.admits(issuer) {
        Ok(base) => base,
        Err(why) => return Err(report.fails(&rule::PRM_SERVERS, why.to_string())),
    };
    for candidate in places(&base) {
        if let Some(metadata) = document::<Metadata>(wire, report, &candidate, &rule::AS_JSON).await? {
            report.meets(&rule::AS_FOUND, candidate.to_string());
            return checked(wire, report, metadata, issuer, flow);
        }
    }
    Err(report.fails(&rule::AS_FOUND, format!("nothing at the well-known places of {issuer}")))
}

fn checked(wire: &Wire, report: &mut Report, metadata: Metadata, issuer: &str, flow: Flow) -> Result<Server, Stopped> {
    let said = metadata.issuer.as_deref().unwrap_or_default();
    if said != issuer {
        return Err(report.fails(&rule::AS_ISSUER, format!("{said:?}, asked for {issuer:?}")));
    }
    report.meets(&rule::AS_ISSUER, format!("{said:?}"));
    let lists = |list: &Option<Vec<String>>, value: &str| list.iter().flatten().any(|one| one == value);
    let token = needed(wire, report, "token_endpoint", metadata.token_endpoint.as_deref())?;
    let mut authorization = None;
    if flow == Flow::Browser {
        let named = metadata.authorization_endpoint.as_deref();
        authorization = Some(needed(wire, report, "authorization_endpoint", named)?);
        if lists(&metadata.response_types_supported, "code") {
            report.meets(&rule::AS_CODE, "listed");
        } else {
            report.deviates(&rule::AS_CODE, told(metadata.response_types_supported.as_deref()))?;
        }
        if !lists(&metadata.code_challenge_methods_supported, "S256") {
            let came = told(metadata.code_challenge_methods_supported.as_deref());
            return Err(report.fails(&rule::AS_S256, came));
        }
        report.meets(&rule::AS_S256, told(metadata.code_challenge_methods_supported.as_deref()));
        if metadata.authorization_response_iss_parameter_supported {
            report.meets(&rule::AS_ISS, "promised");
        } else {
            report.notes(&rule::AS_ISS, "not promised");
        }
    }
    let device = match (flow, metadata.device_authorization_endpoint.as_deref()) {
        (Flow::Browser, _) => None,
        (Flow::Device, Some(named)) => {
            let device = needed(wire, report, "device_authorization_endpoint", Some(named))?;
            report.meets(&rule::AS_DEVICE, named);
            Some(device)
        }
        (Flow::Device, None) => return Err(report.fails(&rule::AS_DEVICE, "none")),
    };
    // Endpoints that a login can do without are left out where a login must not go.
    let optional = |named: Option<String>| named.and_then(|named| wire.admits(&named).ok());
    Ok(Server {
        issuer: issuer.to_owned(),
        authorization,
        token,
        registration: optional(metadata.registration_endpoint),
        revocation: optional(metadata.revocation_endpoint),
        device,
        scopes: metadata.scopes_supported,
        auth_methods: metadata.token_endpoint_auth_methods_supported.unwrap_or_default(),
        takes_documents: metadata.client_id_metadata_document_supported,
        promises_iss: metadata.authorization_response_iss_parameter_supported,
    })
}

fn needed(wire: &Wire, report: &mut Report, name: &str, named: Option<&str>) -> Result<Url, Stopped> {
    let Some(named) = named else { return Err(report.fails(&rule::AS_ENDPOINT, format!("no {name}"))) };
    match wire.admits(named) {
        Ok(url) => {
            report.meets(&rule::AS_ENDPOINT, format!("{name} {named}"));
            Ok(url)
        }
        Err(why) => Err(report.fails(&rule::AS_ENDPOINT, format!("{name}: {why}"))),
    }
}

fn told(list: Option<&[String]>) -> String {
    list.map_or_else(|| "not there".to_owned(), |list| format!("{list:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn rfc8414_3_1_three_places_for_an_issuer_with_a_path() {
        let told = |text| places(&url(text)).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            told("https://as/t"),
            [
                "https://as/.well-known/oauth-authorization-server/t",
                "https://as/.well-known/openid-configuration/t",
                "https://as/t/.well-known/openid-configuration",
            ]
        );
        assert_eq!(told("https://as/").len(), 2);
    }
}
