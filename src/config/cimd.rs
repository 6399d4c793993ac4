//! `[cimd]`: clients that are described by documents of their own.

use super::{
    quantity::{document_size, duration},
    section::Section,
};
use crate::{
    domain::{DocumentUrl, HostPattern, HttpsUrl},
    oauth::{Accept, Advertise, CimdSettings},
    upstream::http::Cap,
};

/// Reads the section.
pub(super) fn read(top: &mut Section<'_>, public_url: Option<&HttpsUrl>) -> Option<CimdSettings> {
    let mut section = top.section("cimd");
    let accept = section.parsed_or("accept", "any", "\"any\"", |text| match text {
        "any" => Ok(Accept::Any),
        "trusted" => Ok(Accept::Trusted),
        "none" => Ok(Accept::None),
        _ => Err("expected any, trusted (only trusted_hosts and preload) or none"),
    });
    let advertise = section.parsed_or("advertise", "auto", "\"auto\"", |text| match text {
        "auto" => Ok(Advertise::Auto),
        "on" => Ok(Advertise::On),
        "off" => Ok(Advertise::Off),
        _ => Err("expected auto (while documents can be fetched from here), on or off"),
    });
    let trusted_hosts = section.each("trusted_hosts", r#"["claude.ai", "*.example.com"]"#, HostPattern::parse);
    let blocked_hosts = section.each("blocked_hosts", r#"["*.example.net"]"#, HostPattern::parse);
    let preload =
        section.each("preload", r#"["https://claude.ai/oauth/mcp-oauth-client-metadata"]"#, DocumentUrl::parse);
    let probe = section.each("probe", r#"["https://vscode.dev/oauth/client-metadata.json"]"#, DocumentUrl::parse);
    let size = section.parsed_or("max_size", "5KiB", "\"5KiB\"", document_size);
    // Behaviour 21: `/token` answers within 10 s, and may have to fetch a document and keys.
    let time = section.parsed_or("timeout", "5s", "\"5s\"", duration("100ms", "5s"));
    let token_endpoint_audience = section.yes_or("token_endpoint_audience", true);
    let nobody = accept == Some(Accept::Trusted) && trusted_hosts.is_empty() && preload.is_empty();
    if nobody {
        let remedy = "write trusted_hosts = [\"claude.ai\"], or accept = \"none\"";
        section.wrong("accept", "is \"trusted\", but nobody is", remedy);
    }
    section.finish();
    // Whoever reaches a house on loopback is on the same machine: nothing is asked of the world to tell it.
    let at_home = public_url.is_some_and(HttpsUrl::is_loopback);
    Some(CimdSettings {
        accept: accept?,
        advertise: match advertise? {
            Advertise::Auto if at_home => Advertise::Off,
            advertise => advertise,
        },
        trusted_hosts,
        blocked_hosts,
        preload,
        probe,
        cap: Cap { size: size?, time: time? },
        token_endpoint_audience,
    })
}
