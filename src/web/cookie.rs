//! The two cookies of the door: one that names the browser, one per login that its callback must bring back (CON-5,
//! CON-6). On https both carry the `__Host-` prefix, so no sibling domain can plant one; plain-http loopback, where
//! browsers refuse that prefix, does without it and without `Secure`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::{
    domain::{HttpsUrl, Secret},
    oauth::StateCookie,
};

/// How long a browser stays known to us: the longest life that browsers grant a cookie. A remembered consent ends
/// earlier, by the record's own life.
const BROWSER_LIFE: Duration = Duration::from_secs(400 * 24 * 3600);

/// The cookie names of this deployment, and how they are set.
#[derive(Debug, Clone)]
pub(crate) struct Jar {
    browser: &'static str,
    login: &'static str,
    attributes: &'static str,
}

impl Jar {
    /// The cookies that fit the public URL.
    pub(crate) fn new(public_url: &HttpsUrl) -> Self {
        if public_url.is_https() {
            Self {
                browser: "__Host-vestibule",
                login: "__Host-vestibule-login-",
                attributes: "Path=/; Secure; HttpOnly; SameSite=Lax",
            }
        } else {
            Self { browser: "vestibule", login: "vestibule-login-", attributes: "Path=/; HttpOnly; SameSite=Lax" }
        }
    }

    /// What the browser calls itself, if it brought our cookie.
    pub(crate) fn browser<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        find(headers, |name| name == self.browser)
    }

    /// The cookie of the login with that suffix.
    pub(crate) fn login(&self, headers: &HeaderMap, suffix: &str) -> Option<String> {
        find(headers, |name| name.strip_prefix(self.login) == Some(suffix)).map(str::to_owned)
    }

    /// `Set-Cookie` for a browser just met.
    pub(crate) fn remember(&self, value: &Secret<String>) -> Option<HeaderValue> {
        self.set(self.browser, "", value.expose(), BROWSER_LIFE)
    }

    /// `Set-Cookie` for one login on its way to the provider.
    pub(crate) fn begin(&self, cookie: &StateCookie) -> Option<HeaderValue> {
        self.set(self.login, &cookie.suffix, cookie.value.expose(), cookie.life)
    }

    /// `Set-Cookie` that drops the cookie of a login that is over.
    pub(crate) fn end(&self, suffix: &str) -> Option<HeaderValue> {
        self.set(self.login, suffix, "", Duration::ZERO)
    }

    fn set(&self, name: &str, suffix: &str, value: &str, life: Duration) -> Option<HeaderValue> {
        let line = format!("{name}{suffix}={value}; Max-Age={}; {}", life.as_secs(), self.attributes);
        let mut line = HeaderValue::try_from(line).ok()?;
        line.set_sensitive(true);
        Some(line)
    }
}

/// The first cookie whose name is meant. Browsers send the most specific one first.
fn find(headers: &HeaderMap, is_meant: impl Fn(&str) -> bool) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| is_meant(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(url: &str) -> Jar {
        Jar::new(&HttpsUrl::parse(url, false).unwrap())
    }

    fn login() -> StateCookie {
        StateCookie { suffix: "abc".into(), value: "v1".into(), life: Duration::from_secs(600) }
    }

    #[test]
    fn con_5_cookies_on_https_are_host_bound() {
        let jar = jar("https://mcp.example.com");
        insta::assert_snapshot!(jar.remember(&"who".into()).unwrap().to_str().unwrap(),
            @"__Host-vestibule=who; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax");
        insta::assert_snapshot!(jar.begin(&login()).unwrap().to_str().unwrap(),
            @"__Host-vestibule-login-abc=v1; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax");
        insta::assert_snapshot!(jar.end("abc").unwrap().to_str().unwrap(),
            @"__Host-vestibule-login-abc=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax");
        assert!(jar.begin(&login()).unwrap().is_sensitive());
    }

    #[test]
    fn plain_http_on_loopback_gets_names_that_browsers_accept() {
        let jar = jar("http://127.0.0.1:8080");
        insta::assert_snapshot!(jar.remember(&"who".into()).unwrap().to_str().unwrap(),
            @"vestibule=who; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let jar = jar("https://mcp.example.com");
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "x__Host-vestibule=no; a=b".parse().unwrap());
        headers.append(header::COOKIE, "__Host-vestibule=yes=; __Host-vestibule-login-q=1".parse().unwrap());
        assert_eq!(jar.browser(&headers), Some("yes="));
        assert_eq!(jar.login(&headers, "q").as_deref(), Some("1"));
        assert_eq!(jar.login(&headers, ""), None);
    }
}
