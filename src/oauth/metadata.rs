//! What strangers are told: RFC 8414, OIDC discovery and RFC 9728. Made once; they say what is on, no more (ASM-8).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::{AuthorizationServer, Gate, NamedResource, Parts, Settings};
use crate::{
    crypto::jwt::{proof::PROOF_ALGS, published::ASSERTION_ALGS},
    domain::{GrantType, Resource, ResourceUri, Scope, client::JWT_BEARER, scope::OFFLINE_ACCESS},
    token::Dpop,
};

/// EMA-5; registered by the Enterprise-Managed Authorization extension.
const ID_JAG_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

/// The documents, ready to be sent.
pub(super) struct Documents {
    /// RFC 8414 and OIDC discovery alike.
    pub(super) server: Bytes,
    /// The same, announcing that a client may be described by a document of its own (ASM-6).
    pub(super) announcing: Bytes,
    /// RFC 9728, by the path of the Resource; the root under the empty path where PRM-11 lets it.
    pub(super) resources: BTreeMap<String, Bytes>,
}

/// RFC 8414 §2, with what OIDC parsers insist on (ASM-9).
#[derive(Serialize)]
struct ServerMetadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<&'a str>,
    response_types_supported: [&'a str; 1],
    response_modes_supported: [&'a str; 1],
    grant_types_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_grant_profiles_supported: Option<[&'a str; 1]>,
    #[serde(flatten)]
    auth_methods: AuthMethods<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id_metadata_document_supported: Option<bool>,
    code_challenge_methods_supported: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    dpop_signing_alg_values_supported: Option<[&'a str; 5]>,
    authorization_response_iss_parameter_supported: bool,
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: [&'a str; 1],
}

/// How clients prove themselves, and with which algorithms where they sign.
#[derive(Serialize)]
struct AuthMethods<'a> {
    token_endpoint_auth_methods_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg_values_supported: Option<[&'a str; 5]>,
    revocation_endpoint_auth_methods_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint_auth_signing_alg_values_supported: Option<[&'a str; 5]>,
    introspection_endpoint_auth_methods_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint_auth_signing_alg_values_supported: Option<[&'a str; 5]>,
}

impl AuthMethods<'_> {
    fn of(with_keys: bool) -> Self {
        let mut confidential = vec!["client_secret_basic", "client_secret_post"];
        confidential.extend(with_keys.then_some("private_key_jwt"));
        let all: Vec<_> = std::iter::once("none").chain(confidential.iter().copied()).collect();
        let algs = with_keys.then_some(ASSERTION_ALGS);
        Self {
            token_endpoint_auth_methods_supported: all.clone(),
            token_endpoint_auth_signing_alg_values_supported: algs,
            revocation_endpoint_auth_methods_supported: all,
            revocation_endpoint_auth_signing_alg_values_supported: algs,
            introspection_endpoint_auth_methods_supported: confidential,
            introspection_endpoint_auth_signing_alg_values_supported: algs,
        }
    }
}

/// RFC 9728 §2.
#[derive(Serialize)]
struct ResourceMetadata<'a> {
    resource: &'a ResourceUri,
    resource_name: &'a str,
    authorization_servers: [&'a str; 1],
    scopes_supported: Vec<&'a str>,
    bearer_methods_supported: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    dpop_signing_alg_values_supported: Option<[&'a str; 5]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dpop_bound_access_tokens_required: bool,
}

impl Documents {
    pub(super) fn of(settings: &Settings, parts: &Parts) -> Self {
        let issuer = settings.public_url.trimmed();
        let document = |resource: &Resource| {
            json(&ResourceMetadata {
                resource: &resource.uri,
                resource_name: &resource.title,
                authorization_servers: [issuer],
                scopes_supported: resource.scopes.iter().filter(|s| *s != OFFLINE_ACCESS).collect(),
                bearer_methods_supported: ["header"],
                dpop_signing_alg_values_supported: proof_algs(parts),
                dpop_bound_access_tokens_required: resource.demands_proof,
            })
        };
        let mut resources: BTreeMap<String, Bytes> =
            parts.resources.iter().map(|resource| (resource.path.clone(), document(resource))).collect();
        // PRM-11: a wrong root document would send clients to the wrong audience.
        if let Some(resource) = default_resource(&parts.resources) {
            resources.entry(String::new()).or_insert_with(|| document(resource));
        }
        let (server, announcing) = (server(settings, parts, false), server(settings, parts, true));
        Self { server, announcing, resources }
    }
}

fn server(settings: &Settings, parts: &Parts, is_announcing: bool) -> Bytes {
    let issuer = settings.public_url.trimmed();
    // SEP-2207: clients ask for it only where it is listed. It is no permission, so no Resource lists it.
    let scopes = all_scopes(&parts.resources).joined_with(&Scope::parse(OFFLINE_ACCESS));
    let has_static_keys = settings.clients.iter().any(|known| known.keys.is_some());
    json(&ServerMetadata {
        issuer,
        authorization_endpoint: format!("{issuer}/authorize"),
        token_endpoint: format!("{issuer}/token"),
        device_authorization_endpoint: settings.device.map(|_| format!("{issuer}/device_authorization")),
        registration_endpoint: match settings.registration.gate {
            Gate::Open | Gate::Token(_) => Some(format!("{issuer}/register")),
            Gate::Closed => None,
        },
        revocation_endpoint: format!("{issuer}/revoke"),
        introspection_endpoint: format!("{issuer}/introspect"),
        jwks_uri: format!("{issuer}/jwks"),
        scopes_supported: scopes.iter().collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: grant_types(settings, &parts.resources),
        authorization_grant_profiles_supported: hears_issuers(&parts.resources).then_some([ID_JAG_PROFILE]),
        auth_methods: AuthMethods::of(is_announcing || has_static_keys),
        client_id_metadata_document_supported: is_announcing.then_some(true),
        code_challenge_methods_supported: ["S256"],
        dpop_signing_alg_values_supported: proof_algs(parts),
        authorization_response_iss_parameter_supported: true,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: [parts.mint.algorithm()],
    })
}

/// RFC 9449 §5.1: that it is there says that proofs are understood.
fn proof_algs(parts: &Parts) -> Option<[&'static str; 5]> {
    (parts.mint.dpop() != Dpop::Off).then_some(PROOF_ALGS)
}

/// Whether a person may come with somebody's word for them (EMA-5).
fn hears_issuers(resources: &[std::sync::Arc<Resource>]) -> bool {
    resources.iter().any(|resource| !resource.trusts.issuers.is_empty())
}

fn grant_types(settings: &Settings, resources: &[std::sync::Arc<Resource>]) -> Vec<&'static str> {
    let has_workloads = resources.iter().any(|resource| !resource.trusts.workloads.is_empty());
    let jwt_bearer = (has_workloads || hears_issuers(resources)).then_some(JWT_BEARER);
    let device = settings.device.map(|_| GrantType::DeviceCode);
    // Only for clients of the operator's, so only where there are such (ASM-8).
    let of_some_client =
        |grant: GrantType| settings.clients.iter().any(|known| known.client.may(grant)).then_some(grant);
    let all = [GrantType::AuthorizationCode, GrantType::RefreshToken]
        .into_iter()
        .chain(device)
        .chain(of_some_client(GrantType::ClientCredentials))
        .chain(of_some_client(GrantType::TokenExchange));
    all.map(GrantType::as_str).chain(jwt_bearer).collect()
}

/// A struct of strings always serialises.
fn json(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).map(Bytes::from).unwrap_or_default()
}

/// Every scope that can be had at any Resource.
pub(super) fn all_scopes(resources: &[std::sync::Arc<Resource>]) -> Scope {
    resources.iter().fold(Scope::default(), |all, resource| all.joined_with(&resource.every_scope()))
}

/// The Resource that is meant when none is named (RI-1) and of which the root speaks (PRM-11): the one at the root, the
/// one that the operator marked, or the only one.
pub(super) fn default_resource(resources: &[std::sync::Arc<Resource>]) -> Option<&std::sync::Arc<Resource>> {
    let at_root = resources.iter().find(|resource| resource.path.is_empty());
    let marked = || resources.iter().find(|resource| resource.is_default);
    at_root.or_else(marked).or(match resources {
        [only] => Some(only),
        _ => None,
    })
}

impl AuthorizationServer {
    /// The Resource meant by the `resource` parameters (RFC 8707 §2): none means the default one where the operator allows that, several have to mean
    /// the same one. Never "any" (RI-1).
    pub(super) fn resource<'a>(
        &self,
        mut requested: impl Iterator<Item = &'a str>,
    ) -> Option<&std::sync::Arc<Resource>> {
        let Some(first) = requested.next() else {
            return match self.settings.named_resource {
                NamedResource::Optional => default_resource(&self.parts.resources),
                NamedResource::Required => None,
            };
        };
        let resource = self.parts.resources.iter().find(|resource| resource.uri.is_meant_by(first))?;
        requested.all(|other| resource.uri.is_meant_by(other)).then_some(resource)
    }

    /// The Resource of that identifier, byte for byte.
    pub(super) fn resource_at(&self, uri: &ResourceUri) -> Option<&std::sync::Arc<Resource>> {
        self.parts.resources.iter().find(|resource| resource.uri == *uri)
    }
}
