//! A human at a browser: keeps cookies, follows redirects as far as they can be fetched, presses a button.

use std::{collections::BTreeMap, sync::Mutex};

use url::Url;

/// A page as the human sees it.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// HTTP status.
    pub(crate) status: u16,
    /// Where it stands.
    pub(crate) url: String,
    /// Header lines, lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    /// Its text.
    pub(crate) body: String,
}

impl Page {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let at = self.body.find(&format!("name=\"{name}\""))?;
        let tag_start = self.body[..at].rfind('<')?;
        let tag = &self.body[tag_start..tag_start + self.body[tag_start..].find('>')?];
        let value = tag.split("value=\"").nth(1)?.split('"').next()?;
        Some(value.replace("&amp;", "&").replace("&#61;", "="))
    }

    /// Where a redirect points, absolute.
    pub(crate) fn location(&self) -> Option<String> {
        let base = Url::parse(&self.url).ok()?;
        let location = self.header("location")?;
        // Private schemes and loopback answers are kept byte for byte.
        if location.contains("://") { Some(location.to_owned()) } else { base.join(location).ok().map(String::from) }
    }
}

/// One browser: one cookie jar. Cookies ignore ports, as they do in life.
pub(crate) struct Browser {
    http: reqwest::Client,
    jar: Mutex<BTreeMap<(String, String), String>>,
    /// What it says in `Sec-Fetch-Site` on a navigation; `None` leaves the header out.
    pub(crate) fetch_site: Option<&'static str>,
}

impl Browser {
    /// A fresh browser, whose human types the address.
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        // Each request on a line of its own, so that a round-robin in front can send it elsewhere.
        let http = http.pool_max_idle_per_host(0).build();
        Self { http: http.expect("an HTTP client"), jar: Mutex::default(), fetch_site: Some("none") }
    }

    /// The cookies it would send to `host`, as `name=value; …`.
    pub(crate) fn cookies(&self, host: &str) -> String {
        let jar = self.jar.lock().expect("jar");
        let of_host = jar.iter().filter(|((h, _), _)| h == host);
        of_host.map(|((_, n), v)| format!("{n}={v}")).collect::<Vec<_>>().join("; ")
    }

    /// One GET, redirects not followed.
    pub(crate) async fn get(&self, url: &str) -> Page {
        self.send(url, self.http.get(url)).await
    }

    /// One form POST, redirects not followed.
    pub(crate) async fn post(&self, url: &str, form: &[(&str, &str)]) -> Page {
        let origin = Url::parse(url).expect("an absolute URL").origin().ascii_serialization();
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        self.send(url, request.header("origin", origin).body(body)).await
    }

    async fn send(&self, url: &str, request: reqwest::RequestBuilder) -> Page {
        let parsed = Url::parse(url).expect("an absolute URL");
        let host = parsed.host_str().unwrap_or("").to_owned();
        let mut request = request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let cookies = self.cookies(&host);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies);
        }
        if let Some(site) = self.fetch_site {
            request = request.header("sec-fetch-site", site).header("sec-fetch-mode", "navigate");
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers: Vec<(String, String)> = response
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect();
        self.keep(&host, &headers);
        Page { status, url: url.to_owned(), headers, body: response.text().await.expect("text") }
    }

    fn keep(&self, host: &str, headers: &[(String, String)]) {
        let mut jar = self.jar.lock().expect("jar");
        for (_, line) in headers.iter().filter(|(n, _)| n == "set-cookie") {
            let pair = line.split(';').next().unwrap_or("");
            let Some((name, value)) = pair.split_once('=') else { continue };
            let key = (host.to_owned(), name.trim().to_owned());
            if line.to_ascii_lowercase().contains("max-age=0") || value.is_empty() {
                jar.remove(&key);
            } else {
                jar.insert(key, value.to_owned());
            }
        }
    }

    /// Follows redirects while they stay on http servers that answer for themselves; stops at a page, or at the
    /// address of the client (`stop` is its beginning), which is returned unfetched.
    pub(crate) async fn follow(&self, mut page: Page, stop: &str) -> Result<String, Page> {
        for _ in 0..12 {
            let Some(next) = page.location() else { return Err(page) };
            if next.starts_with(stop) || !next.starts_with("http") {
                return Ok(next);
            }
            page = self.get(&next).await;
        }
        panic!("twelve redirects and no end, last at {}", page.url)
    }
}
