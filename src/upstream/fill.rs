//! Preset and overrides to [`Provider`]: variables filled, every rule checked, every mistake told at once.

use std::collections::BTreeMap;

use url::Url;

use super::provider::{EndpointTexts, Endpoints, Mistake, Overrides, Preset, Protocol, Provider, Source};
use crate::domain::HttpsUrl;

/// Parameters that are ours to set; a preset or an operator who sets one would break the login or its protection.
const OURS: [&str; 9] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
];

impl Preset {
    /// Puts in what the operator gave and checks the whole.
    ///
    /// # Errors
    /// Every mistake, with its path below `[upstream.X]` and its remedy.
    pub fn fill(self, overrides: &Overrides) -> Result<Provider, Vec<Mistake>> {
        let mut filling =
            Filling { variables: &overrides.variables, http: overrides.dangerous_allow_http, mistakes: vec![] };
        filling.variables(&self);
        let issuer = filling.issuer(&self, overrides);
        let endpoints = filling.endpoints(&self, overrides);
        let mut params = self.authorize.params.clone();
        params.extend(overrides.params.clone());
        params.retain(|_, value| !value.is_empty());
        let params = filling.params("params", params);
        let switch_account = filling.params("authorize.switch_account", self.authorize.switch_account.clone());
        let mut token = self.token.clone();
        token.params = filling.params("token.params", token.params);
        token.refresh_params = filling.params("token.refresh_params", token.refresh_params);
        token.client_auth = overrides.client_auth.unwrap_or(token.client_auth);
        let mut scope = self.scope.clone();
        scope.identity = overrides.identity_scopes.clone().unwrap_or(scope.identity);
        scope.offline = overrides.offline_scopes.clone().unwrap_or(scope.offline);
        filling.scopes("identity_scopes", &scope.identity);
        filling.scopes("offline_scopes", &scope.offline);
        let mut identity = self.identity.clone();
        identity.groups = overrides.groups.clone().or(identity.groups);
        filling.pointers(&identity);
        filling.whole(&self, &scope.identity, &endpoints, issuer.is_some());
        if !filling.mistakes.is_empty() {
            return Err(filling.mistakes);
        }
        // "Log in with OpenID Connect" tells a person nothing: the generic preset goes by its issuer's host.
        let host = issuer.as_deref().filter(|_| self.name == "oidc").and_then(host_of);
        Ok(Provider {
            name: self.name,
            title: overrides.title.clone().or(host).unwrap_or(self.title),
            protocol: self.protocol,
            issuer,
            endpoints,
            pkce: self.authorize.pkce,
            params,
            switch_account,
            scope,
            token,
            identity,
            dangerous_allow_http: overrides.dangerous_allow_http,
        })
    }
}

fn host_of(issuer: &str) -> Option<String> {
    url::Url::parse(issuer).ok()?.host_str().map(str::to_owned)
}

struct Filling<'a> {
    variables: &'a BTreeMap<String, String>,
    http: bool,
    mistakes: Vec<Mistake>,
}

impl Filling<'_> {
    fn mistake(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.mistakes.push(Mistake { path: path.into(), text: text.into() });
    }

    fn variables(&mut self, preset: &Preset) {
        for name in &preset.variables {
            match self.variables.get(name) {
                None => self.mistake(
                    format!("variables.{name}"),
                    format!("{} needs it: write variables = {{ {name} = \"…\" }}", preset.title),
                ),
                // A value becomes part of a host or a path: a slash or an @ in it would move the whole address.
                Some(value) if !is_plain(value) => self.mistake(
                    format!("variables.{name}"),
                    "the bare value out of letters, digits, '.', '-' and '_', without https:// and slashes",
                ),
                Some(_) => {}
            }
        }
        let unknown: Vec<_> = self.variables.keys().filter(|name| !preset.variables.contains(name)).cloned().collect();
        for name in unknown {
            let text = match preset.variables.as_slice() {
                [] => format!("{} has no variables; remove it", preset.title),
                known => format!("{} knows only: {}", preset.title, known.join(", ")),
            };
            self.mistake(format!("variables.{name}"), text);
        }
    }

    /// The text with `{name}` replaced; variables that are missing were complained about already.
    fn fill(&self, text: &str) -> String {
        self.variables.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// Whether the text still holds a variable, which is then missing.
    fn unfilled(text: &str) -> bool {
        text.contains('{') || text.contains('}')
    }

    fn url(&mut self, path: &str, text: &str) -> Option<Url> {
        let text = self.fill(text);
        if Self::unfilled(&text) {
            return None;
        }
        match HttpsUrl::parse(&text, self.http) {
            Ok(url) => Some(url.as_url().clone()),
            Err(e) => {
                self.mistake(path, e.to_string());
                None
            }
        }
    }

    fn issuer(&mut self, preset: &Preset, overrides: &Overrides) -> Option<String> {
        let Some(text) = overrides.issuer.as_ref().or(preset.issuer.as_ref()) else {
            if preset.protocol == Protocol::Oidc {
                self.mistake("issuer", "needed: the provider's issuer exactly as it writes it, final slash included");
            }
            return None;
        };
        let url = self.url("issuer", text)?;
        if url.query().is_some() {
            self.mistake("issuer", "an issuer has no query (?…)"); // OIDC Discovery 1.0 §3
        }
        Some(self.fill(text))
    }

    fn endpoints(&mut self, preset: &Preset, overrides: &Overrides) -> Endpoints {
        let EndpointTexts { authorize, token, userinfo, emails, jwks, revoke } = &preset.endpoints;
        let over = &overrides.endpoints;
        let mut one = |name: &str, preset: &Option<String>, over: &Option<String>| {
            let text = over.as_ref().or(preset.as_ref())?;
            self.url(&format!("endpoints.{name}"), text)
        };
        Endpoints {
            authorize: one("authorize", authorize, &over.authorize),
            token: one("token", token, &over.token),
            userinfo: one("userinfo", userinfo, &over.userinfo),
            emails: one("emails", emails, &over.emails),
            jwks: one("jwks", jwks, &over.jwks),
            revoke: one("revoke", revoke, &over.revoke),
        }
    }

    fn params(&mut self, path: &str, params: BTreeMap<String, String>) -> BTreeMap<String, String> {
        for name in params.keys().filter(|name| OURS.contains(&name.as_str())) {
            self.mistakes.push(Mistake {
                path: format!("{path}.{name}"),
                text: "is set by Vestibule itself and cannot be chosen".into(),
            });
        }
        params.into_iter().map(|(name, value)| (name, self.fill(&value))).collect()
    }

    fn scopes(&mut self, path: &str, scopes: &[String]) {
        // RFC 6749 §3.3: one scope is printable ASCII without space, quote and backslash.
        let plain = |s: &String| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if !scopes.iter().all(plain) {
            self.mistake(path, "each entry is one scope, without spaces and quotes");
        }
    }

    fn pointers(&mut self, rules: &super::provider::IdentityRules) {
        let named = [
            ("subject", Some(&rules.subject)),
            ("email", Some(&rules.email)),
            ("email_verified", Some(&rules.email_verified)),
            ("name", Some(&rules.name)),
            ("username", Some(&rules.username)),
            ("groups", rules.groups.as_ref()),
        ];
        for (name, pointer) in named {
            if pointer.is_some_and(|p| !p.starts_with('/')) {
                self.mistake(format!("identity.{name}"), "a JSON pointer begins with a slash: \"/email\"");
            }
        }
    }

    /// What only the whole can tell.
    fn whole(&mut self, preset: &Preset, identity_scopes: &[String], endpoints: &Endpoints, has_issuer: bool) {
        match preset.protocol {
            Protocol::Oidc if !identity_scopes.iter().any(|scope| scope == "openid") => {
                self.mistake("identity_scopes", "OpenID Connect needs the scope \"openid\""); // OIDC Core §3.1.2.1
            }
            Protocol::Oidc => {}
            Protocol::Oauth => {
                if preset.identity.source == Source::IdToken {
                    self.mistake("identity.source", "plain OAuth has no ID token: use source = \"userinfo\"");
                }
                for (name, endpoint) in [
                    ("authorize", &endpoints.authorize),
                    ("token", &endpoints.token),
                    ("userinfo", &endpoints.userinfo),
                ] {
                    let path = format!("endpoints.{name}");
                    // Who a person is has no place in the metadata of RFC 8414.
                    let is_discovered = has_issuer && name != "userinfo";
                    if endpoint.is_none()
                        && !is_discovered
                        && !self.mistakes.iter().any(|m| m.path == path || m.path.starts_with("variables."))
                    {
                        self.mistake(path, "plain OAuth without an issuer has no discovery: name the endpoint");
                    }
                }
            }
        }
    }
}

fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(name: &str, overrides: &Overrides) -> Vec<String> {
        let preset = Provider::preset(name).unwrap();
        preset.fill(overrides).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let overrides = Overrides {
            variables: [("domain".into(), "https://x.auth0.com/".into()), ("region".into(), "eu".into())].into(),
            endpoints: EndpointTexts { token: Some("http://elsewhere.example".into()), ..EndpointTexts::default() },
            params: [("state".into(), "mine".into())].into(),
            identity_scopes: Some(vec!["profile email".into()]),
            ..Overrides::default()
        };
        insta::assert_snapshot!(mistakes("auth0", &overrides).join("\n"), @r#"
        variables.domain: the bare value out of letters, digits, '.', '-' and '_', without https:// and slashes
        variables.region: Auth0 knows only: domain
        endpoints.token: plain http is only accepted on loopback (set dangerous_allow_http = true to allow it elsewhere)
        params.state: is set by Vestibule itself and cannot be chosen
        identity_scopes: each entry is one scope, without spaces and quotes
        identity_scopes: OpenID Connect needs the scope "openid"
        "#);
    }

    #[test]
    fn generic_oidc_needs_its_issuer() {
        insta::assert_snapshot!(mistakes("oidc", &Overrides::default()).join("\n"), @"issuer: needed: the provider's issuer exactly as it writes it, final slash included");
    }

    #[test]
    fn rfc8414_plain_oauth_with_an_issuer_needs_to_be_told_only_of_people() {
        let text = "name = \"x\"\ntitle = \"X\"\nprotocol = \"oauth\"\n[identity]\nsource = \"userinfo\"\n";
        let fill = |issuer: Option<&str>| {
            let overrides = Overrides { issuer: issuer.map(str::to_owned), ..Overrides::default() };
            let mistakes = Provider::from_toml(text).unwrap().fill(&overrides).map(|_| ()).unwrap_err();
            mistakes.into_iter().map(|mistake| mistake.path).collect::<Vec<_>>()
        };
        assert_eq!(fill(Some("https://as.example")), ["endpoints.userinfo"]);
        assert_eq!(fill(None), ["endpoints.authorize", "endpoints.token", "endpoints.userinfo"]);
    }

    #[test]
    fn a_missing_variable_is_one_mistake() {
        insta::assert_snapshot!(mistakes("cognito", &Overrides::default()).join("\n"), @r#"
        variables.region: Amazon Cognito needs it: write variables = { region = "…" }
        variables.pool: Amazon Cognito needs it: write variables = { pool = "…" }
        "#);
    }

    #[test]
    fn unknown_keys_of_a_preset_are_refused_with_their_line() {
        let text = "name = \"x\"\ntitle = \"X\"\nprotocol = \"oidc\"\nisuer = \"https://x\"\n";
        let mistake = Provider::from_toml(text).unwrap_err().to_string();
        assert!(mistake.contains("line 4") && mistake.contains("isuer"), "{mistake}");
    }
}
