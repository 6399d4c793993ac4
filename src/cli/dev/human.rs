//! A stand-in for the human and their browser: follows redirects, keeps cookies, fills in the one form of each page.
//!
//! It reads pages the way a person does, by the form and the button that says yes, so it works on the real pages of
//! the house and not on an interface made for it.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use reqwest::{Method, Response, StatusCode, header};
use url::Url;

/// More pages than any login has.
const PATIENCE: usize = 12;

/// One request of the browser and what came of it.
pub(super) struct Visit {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) took: Duration,
}

/// A browser without a window.
pub(super) struct Human {
    http: reqwest::Client,
    /// By host: browsers do not tell ports apart here (RFC 6265 §8.5).
    cookies: HashMap<String, BTreeMap<String, String>>,
}

impl Human {
    pub(super) fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { http, cookies: HashMap::new() })
    }

    /// Opens `start` and says yes to everything until a redirect leads to `goal`; gives that last address. Tells each
    /// step to `visited`.
    pub(super) async fn log_in(
        &mut self,
        start: &str,
        goal: &str,
        mut visited: impl FnMut(&Visit),
    ) -> anyhow::Result<Url> {
        let mut next = Request::get(Url::parse(start)?, "none");
        for _ in 0..PATIENCE {
            let Request { method, url, .. } = &next;
            let (method, url) = (method.clone(), url.clone());
            let began = Instant::now();
            let response = self.send(next).await.with_context(|| format!("{} did not answer", url.path()))?;
            let (status, location) = (response.status(), response.headers().get(header::LOCATION).cloned());
            let page = response.text().await?;
            visited(&Visit { method, url: url.clone(), status, took: began.elapsed() });
            if status.is_redirection() {
                let to = url.join(location.context("a redirect without a location")?.to_str()?)?;
                if to.as_str().starts_with(goal) {
                    return Ok(to);
                }
                next = Request::get(to, "cross-site");
            } else if status.is_success() {
                next = Request::submit(&url, &page)?;
            } else {
                bail!("{} answered {status}: {}", url.path(), words(&page));
            }
        }
        bail!("the login goes round in circles")
    }

    async fn send(&mut self, request: Request) -> anyhow::Result<Response> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let jar = self.cookies.entry(host).or_default();
        let cookies: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut builder = self
            .http
            .request(request.method, request.url.clone())
            .header(header::ACCEPT, "text/html")
            .header("Sec-Fetch-Site", request.site)
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "document")
            .header("Sec-Fetch-User", "?1");
        if !cookies.is_empty() {
            builder = builder.header(header::COOKIE, cookies.join("; "));
        }
        if let Some(form) = request.form {
            builder = builder
                .header(header::ORIGIN, request.url.origin().ascii_serialization())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form);
        }
        let response = builder.send().await?;
        for cookie in response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            if attributes.to_ascii_lowercase().contains("max-age=0") {
                jar.remove(name.trim());
            } else {
                jar.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(response)
    }
}

struct Request {
    method: Method,
    url: Url,
    /// `Sec-Fetch-Site`.
    site: &'static str,
    form: Option<String>,
}

impl Request {
    fn get(url: Url, site: &'static str) -> Self {
        Self { method: Method::GET, url, site, form: None }
    }

    /// Presses the button that says yes in the page's form.
    fn submit(at: &Url, page: &str) -> anyhow::Result<Self> {
        let form = page.find("<form").and_then(|from| page[from + 1..].split("</form").next());
        let form = form.with_context(|| format!("{} shows no form: {}", at.path(), words(page)))?;
        let mut tags = form.split('<').filter_map(|piece| piece.split('>').next());
        let target = tags.next().and_then(|tag| attribute(tag, "action")).unwrap_or_default();
        let mut fields = Vec::new();
        let mut has_button = false;
        for tag in tags {
            let named = || Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default()));
            if tag.starts_with("input") {
                fields.extend(named());
            } else if tag.starts_with("button") {
                // Of several buttons, the one that approves.
                let pressed = named().filter(|(_, value)| value == "approve").filter(|_| !has_button);
                has_button |= pressed.is_some();
                fields.extend(pressed);
            }
        }
        let body = serde_urlencoded::to_string(fields)?;
        let url = if target.is_empty() { at.clone() } else { at.join(&target)? };
        Ok(Self { method: Method::POST, url, site: "same-origin", form: Some(body) })
    }
}

/// The value of `name` in a tag's text.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        let at = rest.find(name)?;
        let is_word = rest[..at].ends_with([' ', '\n', '\t', '"', '\'']);
        rest = &rest[at + name.len()..];
        let Some(value) = rest.strip_prefix('=').filter(|_| is_word) else { continue };
        let text = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next()?,
            _ => value.split([' ', '\n', '\t', '/']).next()?,
        };
        return Some(unescaped(text));
    }
}

/// The references that HTML escaping makes.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').unwrap_or(0);
        let name = rest.get(1..end).unwrap_or_default();
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let found = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ if name.starts_with("#x") => number(&name[2..], 16),
            _ => name.strip_prefix('#').and_then(|digits| number(digits, 10)),
        };
        match found {
            Some(character) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// The first words of a page, for an error message.
fn words(page: &str) -> String {
    let body = page.split_once("<body").map_or_else(|| format!(">{page}"), |(_, body)| body.to_owned());
    let pieces = body.split('<').filter_map(|piece| piece.split_once('>'));
    let text = pieces.flat_map(|(_, text)| text.split_whitespace());
    text.take(30).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_button_that_says_yes_is_pressed() {
        let page = r#"<body><form method="post" action="/consent?a=1&amp;b=2"><input type="hidden" name="request"
            value="x&quot;&#x2f;&#39;&nosuch;"><button name="decision" value="deny">No</button>
            <button name="decision" value="approve" autofocus>Yes</button></form>"#;
        let request = Request::submit(&Url::parse("http://127.0.0.1:1/authorize").unwrap(), page).unwrap();
        assert_eq!(request.url.as_str(), "http://127.0.0.1:1/consent?a=1&b=2");
        assert_eq!(request.form.as_deref(), Some("request=x%22%2F%27%26nosuch%3B&decision=approve"));
    }

    #[test]
    fn a_page_without_a_form_is_told_by_its_words() {
        let at = Url::parse("http://127.0.0.1:1/callback/dev").unwrap();
        let error =
            Request::submit(&at, "<html><title>x</title><body><h1>Too late</h1><p>Begin again.</p>").err().unwrap();
        assert_eq!(error.to_string(), "/callback/dev shows no form: Too late Begin again.");
    }
}
