//! The documents at well-known places: where they are (RFC 8615), and one of them, fetched and read.

use serde::de::DeserializeOwned;
use url::Url;

use super::{
    report::{Report, Rule, Stopped},
    wire::{Fetched, NoGo, Wire},
};

/// `/.well-known/NAME/path`, then `/.well-known/NAME`.
pub(super) fn well_knowns(url: &Url, name: &str) -> Vec<Url> {
    let path = url.path().trim_end_matches('/');
    let mut found = vec![with_path(url, &format!("/.well-known/{name}{path}"))];
    // RFC 9728 §3.1: a query is part of the identifier and stays.
    found[0].set_query(url.query());
    if !path.is_empty() || url.query().is_some() {
        found.push(with_path(url, &format!("/.well-known/{name}")));
    }
    found
}

pub(super) fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// One JSON document; `None` where there is none of that name.
pub(super) async fn document<T: DeserializeOwned>(
    wire: &Wire,
    report: &mut Report,
    at: &Url,
    is_json: &'static Rule,
) -> Result<Option<T>, Stopped> {
    let fetched = match wire.get(at).await {
        Ok(fetched) => fetched,
        Err(why @ NoGo::Refused(_)) => {
            report.asked(format!("GET {at} → {why}"));
            return Err(report.fails(is_json, why.to_string()));
        }
        Err(why) => {
            report.asked(format!("GET {at} → {why}"));
            return Ok(None);
        }
    };
    let Fetched { status, content_type, body, moved } = fetched;
    let by_way_of = moved.map(|to| format!(", moved to {to}")).unwrap_or_default();
    report.asked(format!("GET {at} → {status} {content_type}{by_way_of}"));
    if !status.is_success() {
        return Ok(None);
    }
    match serde_json::from_slice(&body) {
        Ok(document) => {
            if content_type.to_ascii_lowercase().starts_with("application/json") {
                report.meets(is_json, content_type);
            } else {
                report.deviates(is_json, format!("type {content_type:?}"))?;
            }
            Ok(Some(document))
        }
        Err(why) => {
            report.deviates(is_json, format!("{status}, {content_type:?}: {why}"))?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9728_3_1_the_segment_goes_between_host_and_path() {
        let told = |text| {
            well_knowns(&Url::parse(text).unwrap(), "x").iter().map(Url::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told("https://h/a/mcp"), "https://h/.well-known/x/a/mcp https://h/.well-known/x");
        assert_eq!(told("https://h/"), "https://h/.well-known/x");
        assert_eq!(told("https://h/a?b=c"), "https://h/.well-known/x/a?b=c https://h/.well-known/x");
    }
}
