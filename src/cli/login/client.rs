//! Who we are at the authorization server: a client given by hand, a Client ID Metadata Document, one that was
//! registered before, or one registered now (RFC 7591), in this order (MCP 2026-07-28, client registration).

use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    keep::Client,
    report::{Report, Stopped, plain},
    rules as rule,
    server::{Flow, Server},
    wire::{Wire, built},
};
use crate::domain::{HttpsUrl, RegisteredRedirect, Secret};

/// What the person gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub(super) id: Option<String>,
    pub(super) secret: Option<Secret<String>>,
    pub(super) document: Option<String>,
    pub(super) redirect_uri: Option<RegisteredRedirect>,
}

impl Given {
    /// A client that needs no registration, once its redirect URI is known.
    pub(super) async fn client(
        &self,
        wire: &Wire,
        report: &mut Report,
        server: &Server,
    ) -> Result<Option<Client>, Stopped> {
        let redirect_uri = self.redirect_uri.as_ref().map(|uri| uri.as_str().to_owned());
        if let Some(id) = &self.id {
            report.step("client");
            report.asked("the client id of the command line");
            let secret_in_body = in_body(&server.auth_methods, self.secret.is_some());
            let (id, secret) = (id.clone(), self.secret.clone());
            return Ok(Some(Client {
                id,
                secret,
                secret_in_body,
                is_registered: false,
                for_device: false,
                redirect_uri,
            }));
        }
        let Some(document) = &self.document else { return Ok(None) };
        report.step("client");
        if !server.takes_documents {
            return Err(report.fails(&rule::CIMD_SUPPORTED, "client_id_metadata_document_supported is not true"));
        }
        report.meets(&rule::CIMD_SUPPORTED, "promised");
        let redirect_uri = Some(match redirect_uri {
            Some(given) => given,
            None => redirect_of(wire, report, document).await?,
        });
        let id = document.clone();
        Ok(Some(Client {
            id,
            secret: None,
            secret_in_body: true,
            is_registered: false,
            for_device: false,
            redirect_uri,
        }))
    }
}

/// Our own document, read as the server will read it.
#[derive(Deserialize)]
struct Document {
    client_id: String,
    redirect_uris: Vec<String>,
}

async fn redirect_of(wire: &Wire, report: &mut Report, at: &str) -> Result<String, Stopped> {
    let fetched = match HttpsUrl::parse(at, false) {
        Ok(url) => wire.get(url.as_url()).await.map_err(|why| why.to_string()),
        Err(bad) => Err(bad.to_string()),
    };
    let found = fetched.and_then(|fetched| {
        report.asked(format!("GET {at} → {}", fetched.status));
        serde_json::from_slice::<Document>(&fetched.body).map_err(|e| e.to_string())
    });
    let document = match found {
        Ok(document) => document,
        Err(why) => return Err(report.fails(&rule::CIMD_DOCUMENT, why)),
    };
    let is_loopback = |uri: &&String| RegisteredRedirect::parse(uri).is_ok_and(|uri| uri.is_loopback());
    let redirect = document.redirect_uris.iter().find(is_loopback);
    match redirect.filter(|_| document.client_id == at) {
        Some(uri) => {
            report.meets(&rule::CIMD_DOCUMENT, uri.clone());
            Ok(uri.clone())
        }
        None => {
            let came = format!("client_id {:?}, redirect_uris {:?}", document.client_id, document.redirect_uris);
            Err(report.fails(&rule::CIMD_DOCUMENT, came))
        }
    }
}

/// Whether a secret goes into the body: only where the server does not take the header, which is the default
/// (RFC 8414 §2). Without a secret the id goes into the body.
fn in_body(methods: &[String], has_secret: bool) -> bool {
    let takes = |method: &str| methods.iter().any(|one| one == method);
    !has_secret || (takes("client_secret_post") && !takes("client_secret_basic"))
}

/// RFC 7591 §3.2.1.
#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
    redirect_uris: Option<Vec<String>>,
}

/// RFC 7591 §3.2.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

/// Introduces ourselves, with this redirect URI.
pub(super) async fn register(
    wire: &Wire,
    report: &mut Report,
    server: &Server,
    redirect_uri: &str,
    scope: Option<&str>,
    flow: Flow,
) -> Result<Client, Stopped> {
    report.step("client");
    let Some(endpoint) = &server.registration else {
        let came = if server.takes_documents {
            "no registration_endpoint, but metadata documents: give one with --client-id-metadata URL"
        } else {
            "neither registration_endpoint nor metadata documents"
        };
        return Err(report.fails(&rule::REGISTRABLE, came));
    };
    report.meets(&rule::REGISTRABLE, endpoint.to_string());
    // A public client, unless the server says that it takes none.
    let methods = &server.auth_methods;
    let takes = |method: &str| methods.iter().any(|one| one == method);
    let method = ["none", "client_secret_basic", "client_secret_post"].into_iter().find(|method| takes(method));
    let mut grants = vec!["authorization_code", "refresh_token"];
    if flow == Flow::Device {
        grants.push("urn:ietf:params:oauth:grant-type:device_code");
    }
    let mut document = json!({
        "client_name": "vestibule login",
        "redirect_uris": [redirect_uri],
        "grant_types": grants,
        "response_types": ["code"],
        "token_endpoint_auth_method": method.unwrap_or("none"),
        "application_type": "native",
    });
    if let Some(scope) = scope {
        document["scope"] = scope.into();
    }
    let request = http::Request::post(endpoint.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json");
    let sent = match built(request, document.to_string().into_bytes()) {
        Ok(request) => wire.send(request).await,
        Err(why) => Err(why),
    };
    let answer = match sent {
        Ok(answer) => answer,
        Err(why) => {
            report.asked(format!("POST {endpoint} → {why}"));
            return Err(report.fails(&rule::REGISTERED, why.to_string()));
        }
    };
    let status = answer.status();
    report.asked(format!("POST {endpoint} → {status}"));
    let registered = match serde_json::from_slice::<Registered>(answer.body()) {
        Ok(registered) if status.is_success() => registered,
        _ => {
            let came = match serde_json::from_slice::<Refused>(answer.body()) {
                Ok(said) => format!("{status}, {}: {}", said.error, said.error_description.unwrap_or_default()),
                Err(_) => format!("{status} without a client_id"),
            };
            return Err(report.fails(&rule::REGISTERED, came));
        }
    };
    judged(report, status, registered, redirect_uri, method, flow)
}

fn judged(
    report: &mut Report,
    status: StatusCode,
    registered: Registered,
    redirect_uri: &str,
    asked_method: Option<&str>,
    flow: Flow,
) -> Result<Client, Stopped> {
    report.meets(&rule::REGISTERED, format!("client_id {}", shortened(&registered.client_id)));
    if status == StatusCode::CREATED {
        report.meets(&rule::REGISTERED_STATUS, status.to_string());
    } else {
        report.deviates(&rule::REGISTERED_STATUS, status.to_string())?;
    }
    // A server may write the port differently: any port is meant (RFC 8252 §7.3).
    let is_kept = |uris: &Vec<String>| {
        uris.iter().any(|uri| {
            uri == redirect_uri
                || RegisteredRedirect::parse(uri).ok().map(|uri| uri.without_loopback_port())
                    == RegisteredRedirect::parse(redirect_uri).ok().map(|uri| uri.without_loopback_port())
        })
    };
    match &registered.redirect_uris {
        Some(uris) if !is_kept(uris) => report.deviates(&rule::REGISTERED_REDIRECT, format!("{uris:?}"))?,
        _ => report.meets(&rule::REGISTERED_REDIRECT, redirect_uri),
    }
    let method = registered.token_endpoint_auth_method.as_deref().or(asked_method);
    let secret = registered.client_secret.filter(|secret| !secret.is_empty() && method != Some("none"));
    let secret_in_body = secret.is_none() || method == Some("client_secret_post");
    Ok(Client {
        id: registered.client_id,
        secret: secret.map(Secret::new),
        secret_in_body,
        is_registered: true,
        for_device: flow == Flow::Device,
        redirect_uri: Some(redirect_uri.to_owned()),
    })
}

/// Ids may be long (a sealed registration is).
pub(super) fn shortened(id: &str) -> String {
    match id.char_indices().nth(40) {
        Some((at, _)) => format!("{}… ({} characters)", plain(&id[..at]), id.len()),
        None => plain(id),
    }
}
