//! The preset: the TOML of `providers/*.toml`, key by key, and the checked [`Provider`] that comes of it (D12).
//!
//! A preset is public knowledge about an identity provider and holds no credentials. Its text becomes a [`Preset`]
//! (shape only); [`Preset::fill`] puts in the operator's variables and overrides, checks everything and gives a
//! [`Provider`], on which the rest of the room relies without looking twice.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

/// The text of a provider file, shape checked, variables not yet filled. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// `name`: the file's own name without `.toml`; what `provider = "…"` names.
    pub name: String,
    /// `title`: what people call it, for pages and logs: `"GitHub"`.
    pub title: String,
    /// `protocol`: `"oidc"` (an issuer with discovery and ID tokens) or `"oauth"` (plain OAuth 2.0: endpoints are
    /// listed here, or those of the flow discovered at the issuer by RFC 8414, and the person is read from
    /// `endpoints.userinfo`).
    pub protocol: Protocol,
    /// `issuer`: for `oidc`, the issuer exactly as the provider writes it, final slash included (rule 13). May hold
    /// `{variables}`. Absent in the generic preset, where the operator gives it. For `oauth` it is optional: where it is
    /// given, `iss` in callbacks is checked (RFC 9207), and endpoints that are not named are discovered (RFC 8414).
    #[serde(default)]
    pub issuer: Option<String>,
    /// `variables`: names that the operator has to give in `[upstream.X.variables]`; `{name}` in the issuer, the
    /// endpoints and the parameters is replaced by the value.
    #[serde(default)]
    pub variables: Vec<String>,
    /// `[endpoints]`: see [`EndpointTexts`].
    #[serde(default)]
    pub endpoints: EndpointTexts,
    /// `[authorize]`: see [`AuthorizeTexts`].
    #[serde(default)]
    pub authorize: AuthorizeTexts,
    /// `[scope]`: see [`ScopeRules`].
    #[serde(default)]
    pub scope: ScopeRules,
    /// `[token]`: see [`TokenRules`].
    #[serde(default)]
    pub token: TokenRules,
    /// `[identity]`: see [`IdentityRules`].
    #[serde(default)]
    pub identity: IdentityRules,
}

/// `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OpenID Connect: discovery, nonce, ID token.
    Oidc,
    /// Plain OAuth 2.0: no nonce, the person comes from the userinfo endpoint.
    Oauth,
}

/// `[endpoints]` of a preset or of `[upstream.X]`. For `oidc` each one is discovered and needs no mention; one that is
/// named here wins over the discovered one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointTexts {
    /// Where the browser goes (RFC 6749 §3.1). A query in it is kept.
    #[serde(default)]
    pub authorize: Option<String>,
    /// Where codes become tokens (RFC 6749 §3.2).
    #[serde(default)]
    pub token: Option<String>,
    /// Who the person is: OIDC userinfo, or any JSON document readable with the access token.
    #[serde(default)]
    pub userinfo: Option<String>,
    /// A list of `{ email, primary, verified }` readable with the access token (GitHub's `/user/emails`). Where it is
    /// given, the primary verified address in it is the person's, whatever userinfo says.
    #[serde(default)]
    pub emails: Option<String>,
    /// Keys that sign ID tokens (RFC 7517).
    #[serde(default)]
    pub jwks: Option<String>,
    /// Where tokens are given back (RFC 7009).
    #[serde(default)]
    pub revoke: Option<String>,
}

/// `[authorize]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizeTexts {
    /// `pkce`: `"S256"` (default) or `"none"` for the rare provider that refuses the parameter. It does not depend on
    /// what metadata lists: Cognito takes S256 and does not say so (rule 16).
    #[serde(default)]
    pub pkce: Pkce,
    /// `params`: further parameters of the authorize URL, e.g. `{ access_type = "offline" }`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// `switch_account`: what the provider wants to hear where a person asks for another account than the one they are
    /// logged in with, e.g. `{ prompt = "select_account" }`. It replaces `params` of the same name. Empty: it has no way.
    #[serde(default)]
    pub switch_account: BTreeMap<String, String>,
}

/// Whether our leg uses PKCE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Pkce {
    /// `S256` (RFC 7636 §4.2).
    #[default]
    #[serde(rename = "S256")]
    S256,
    /// No `code_challenge`, no `code_verifier`.
    #[serde(rename = "none")]
    Off,
}

/// `[scope]`: what is asked of the provider. Never anything the MCP client sent (rule 1).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeRules {
    /// `identity`: the scopes that let us learn who the person is.
    #[serde(default)]
    pub identity: Vec<String>,
    /// `offline`: the scopes that make the provider give a refresh token (`["offline_access"]`); empty where there is
    /// none or where asking is an error (Cognito, Google).
    #[serde(default)]
    pub offline: Vec<String>,
    /// `separator`: `" "` (default) or `","`.
    #[serde(default)]
    pub separator: Separator,
}

/// What stands between two scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Separator {
    /// A space (RFC 6749 §3.3), sent as `%20`, never as `+` (Cognito).
    #[default]
    #[serde(rename = " ")]
    Space,
    /// A comma.
    #[serde(rename = ",")]
    Comma,
}

impl Separator {
    /// As text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Space => " ",
            Self::Comma => ",",
        }
    }
}

/// `[token]`: how the token endpoint wants to be spoken to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRules {
    /// `client_auth`: `"auto"` (default: what metadata lists, Basic where it lists nothing), `"basic"`, `"post"` or
    /// `"none"` (UP-6).
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// `scope_at`: `"authorize"` (default: never again after the authorize URL, rule 3), `"refresh"` or `"always"`.
    #[serde(default)]
    pub scope_at: ScopeAt,
    /// `refresh`: whether refresh tokens exist there, and whether they change: `"absent"`, `"stable"` (default) or
    /// `"rotating"`. Where they exist and none came, the log warns (rule 17).
    #[serde(default)]
    pub refresh: Refresh,
    /// `params`: further parameters of the code exchange.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// `refresh_params`: further parameters of the refresh (rule 4: three maps).
    #[serde(default)]
    pub refresh_params: BTreeMap<String, String>,
}

/// How we prove at the token endpoint who we are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// By metadata; Basic where it is silent (RFC 8414 §2).
    #[default]
    Auto,
    /// `client_secret_basic`, both halves form-encoded first (RFC 6749 §2.3.1).
    Basic,
    /// `client_secret_post`.
    Post,
    /// A public app: `client_id` alone.
    None,
}

/// When `scope` is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeAt {
    /// In the authorize URL alone.
    #[default]
    Authorize,
    /// Also at refresh.
    Refresh,
    /// Also at the exchange and at refresh.
    Always,
}

/// What is to be expected of refresh tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refresh {
    /// The provider gives none.
    Absent,
    /// One that stays.
    #[default]
    Stable,
    /// A new one at each refresh.
    Rotating,
}

/// `[identity]`: where the person is found. Values other than `source` are JSON pointers (RFC 6901).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityRules {
    /// `source`: `"id_token"` (default; userinfo then only fills gaps) or `"userinfo"`.
    pub source: Source,
    /// `subject`: the immutable identifier; a string or a number. Default `/sub`.
    pub subject: String,
    /// `email`: default `/email`.
    pub email: String,
    /// `email_verified`: a bool or the string `"true"`. Default `/email_verified`.
    pub email_verified: String,
    /// `name`: default `/name`.
    pub name: String,
    /// `username`: default `/preferred_username`.
    pub username: String,
    /// `groups`: a list of strings, or of objects with a `name`; no default.
    pub groups: Option<String>,
}

impl Default for IdentityRules {
    fn default() -> Self {
        Self {
            source: Source::IdToken,
            subject: "/sub".into(),
            email: "/email".into(),
            email_verified: "/email_verified".into(),
            name: "/name".into(),
            username: "/preferred_username".into(),
            groups: None,
        }
    }
}

/// Which document describes the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The verified ID token.
    #[default]
    IdToken,
    /// The userinfo endpoint.
    Userinfo,
}

/// What the operator adds to a preset: the optional part of `[upstream.X]`.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `title`: what people call it, on the consent page; replaces the preset's.
    pub title: Option<String>,
    /// `[upstream.X.variables]`.
    pub variables: BTreeMap<String, String>,
    /// `issuer`: replaces the preset's; needed for `provider = "oidc"`.
    pub issuer: Option<String>,
    /// `[upstream.X.endpoints]`: each one given wins over preset and discovery.
    pub endpoints: EndpointTexts,
    /// `[upstream.X.params]`: added to the authorize URL; an empty value takes a preset's parameter away.
    pub params: BTreeMap<String, String>,
    /// `identity_scopes`: replaces the preset's `scope.identity`.
    pub identity_scopes: Option<Vec<String>>,
    /// `offline_scopes`: replaces the preset's `scope.offline`.
    pub offline_scopes: Option<Vec<String>>,
    /// `client_auth`: replaces the preset's.
    pub client_auth: Option<ClientAuth>,
    /// `groups`: replaces the preset's JSON pointer to groups.
    pub groups: Option<String>,
    /// `dangerous_allow_http`: plain http away from loopback.
    pub dangerous_allow_http: bool,
}

/// One thing wrong with a preset or its overrides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {text}")]
pub struct Mistake {
    /// Where, below `[upstream.X]`: `variables.domain`, `endpoints.token`, `issuer`.
    pub path: String,
    /// What is wrong and how to mend it.
    pub text: String,
}

/// Public knowledge of an identity provider: complete, checked, without `{variables}`.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The preset's name.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// OIDC or plain OAuth.
    pub protocol: Protocol,
    /// The issuer, byte for byte; always there for OIDC.
    pub issuer: Option<String>,
    /// What is known beforehand; where there is an issuer the rest is discovered.
    pub endpoints: Endpoints,
    /// PKCE on our leg.
    pub pkce: Pkce,
    /// Further parameters of the authorize URL.
    pub params: BTreeMap<String, String>,
    /// The same, where a person asks for another account.
    pub switch_account: BTreeMap<String, String>,
    /// Scopes.
    pub scope: ScopeRules,
    /// The token endpoint's habits.
    pub token: TokenRules,
    /// Where the person is found.
    pub identity: IdentityRules,
    /// Whether endpoints (discovered ones too) may be plain http away from loopback.
    pub dangerous_allow_http: bool,
}

/// [`EndpointTexts`], parsed.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// Where the browser goes.
    pub authorize: Option<Url>,
    /// Where codes become tokens.
    pub token: Option<Url>,
    /// Who the person is.
    pub userinfo: Option<Url>,
    /// A list of the person's e-mail addresses.
    pub emails: Option<Url>,
    /// Keys that sign ID tokens.
    pub jwks: Option<Url>,
    /// Where tokens are given back.
    pub revoke: Option<Url>,
}

impl Provider {
    /// The preset of that name among those compiled in ([`names`](super::presets::names)).
    #[must_use]
    pub fn preset(name: &str) -> Option<Preset> {
        let text = super::presets::text(name)?;
        Self::from_toml(text).ok()
    }

    /// A preset of the operator's own (`provider_file`).
    ///
    /// # Errors
    /// TOML that does not parse, unknown keys, values of the wrong kind: with line and column.
    pub fn from_toml(text: &str) -> Result<Preset, Mistake> {
        toml::from_str(text).map_err(|e| Mistake { path: "provider".into(), text: e.to_string().trim_end().to_owned() })
    }
}
