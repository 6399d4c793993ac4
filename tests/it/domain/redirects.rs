//! Redirect URIs: what is accepted, what matches, how an answer is appended (AZ-2, AZ-3, AZ-8, DCR-4, S7, S8).

use proptest::prelude::*;
use vestibule::domain::{
    Client, ClientAuthMethod, ClientId, ClientOrigin, RegisteredRedirect,
    client::RedirectRefused,
    uri::{BadRedirect, Loopback, LoopbackHosts, LoopbackPorts},
};

const DISTINCT: Loopback = Loopback { hosts: LoopbackHosts::Distinct, ports: LoopbackPorts::Any };
const EXACT: Loopback = Loopback { hosts: LoopbackHosts::Distinct, ports: LoopbackPorts::Exact };

fn redirect(uri: &str) -> RegisteredRedirect {
    RegisteredRedirect::parse(uri).unwrap_or_else(|bad| panic!("{uri}: {bad}"))
}

fn matches(registered: &str, requested: &str) -> bool {
    redirect(registered).matches(&redirect(requested), Loopback::default())
}

fn client(uris: &[&str]) -> Client {
    Client {
        id: ClientId::new("c"),
        origin: ClientOrigin::Static,
        name: None,
        redirect_uris: uris.iter().map(|uri| redirect(uri)).collect(),
        auth_method: ClientAuthMethod::None,
        grants: std::collections::BTreeSet::new(),
        scope: None,
        always_proves: false,
        edition: None,
    }
}

#[test]
fn behaviour_9_what_real_clients_register_is_accepted() {
    for uri in [
        "https://claude.ai/api/mcp/auth_callback",
        "http://localhost/callback",
        "http://localhost:3118/callback",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418",
        "http://[::1]:8976/cb?x=1",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "cursor://anysphere.cursor-retrieval/oauth/user-1/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "windsurf://auth",
        "com.example.app:/oauth2redirect",
        "https://chat.example.org/oauth/clients/mcp:id/callback",
        "https://global.consent.azure-apim.net/redirect/tool-1_2",
    ] {
        assert_eq!(RegisteredRedirect::parse(uri).map(|uri| uri.as_str().to_owned()), Ok(uri.to_owned()), "{uri}");
    }
}

#[test]
fn s7_schemes_that_run_or_read_something_are_refused_in_any_case() {
    for uri in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "javascript://example.com/%0aalert(1)",
        "data:text/html,x",
        "DATA:text/html;base64,eA==",
        "vbscript:x",
        "blob:https://example.com/1",
        "file:///etc/passwd",
        "about:blank",
        "view-source:https://example.com/",
        "ftp://example.com/",
        "intent://x#Intent;end",
    ] {
        assert_eq!(RegisteredRedirect::parse(uri), Err(BadRedirect::Scheme), "{uri}");
    }
}

#[test]
fn s7_s8_tricks_in_redirect_uris_are_refused() {
    for (uri, why) in [
        (" https://claude.ai/cb", BadRedirect::Characters),
        ("https://claude.ai/cb\n", BadRedirect::Characters),
        ("java\tscript:alert(1)", BadRedirect::Characters),
        ("https://claude.ai\\@evil.example/cb", BadRedirect::Characters),
        ("https://cläude.ai/cb", BadRedirect::Characters),
        ("/cb", BadRedirect::Malformed),
        ("", BadRedirect::Malformed),
        ("https:", BadRedirect::Malformed),
        ("https:///cb", BadRedirect::Malformed),
        ("cursor://", BadRedirect::Malformed),
        ("https://claude.ai/cb#", BadRedirect::Fragment),
        ("https://claude.ai/cb#f", BadRedirect::Fragment),
        ("https://claude.ai@evil.example/cb", BadRedirect::Userinfo),
        ("https://a@b@evil.example/cb", BadRedirect::Userinfo),
        ("http://localhost@evil.example/cb", BadRedirect::Userinfo),
        ("https://*.claude.ai/cb", BadRedirect::Wildcard),
        ("http://claude.ai/cb", BadRedirect::PlainHttp),
        ("http://localhost.evil.example/cb", BadRedirect::PlainHttp),
        ("http://notlocalhost/cb", BadRedirect::PlainHttp),
        ("http://localhost./cb", BadRedirect::PlainHttp),
        ("http://127.0.0.2/cb", BadRedirect::PlainHttp),
        ("http://0/cb", BadRedirect::PlainHttp),
        ("http://2130706433/cb", BadRedirect::PlainHttp),
        ("https://claude.ai/a/../cb", BadRedirect::DotSegments),
        ("https://claude.ai/a/..;/cb", BadRedirect::DotSegments),
        ("https://claude.ai/a/%2e%2E/cb", BadRedirect::DotSegments),
        ("https://claude.ai/a/.%2e;x=1/cb", BadRedirect::DotSegments),
        ("cursor://x/../cb", BadRedirect::DotSegments),
    ] {
        assert_eq!(RegisteredRedirect::parse(uri), Err(why), "{uri:?}");
    }
    assert_eq!(RegisteredRedirect::parse(&format!("https://a.b/{}", "x".repeat(2048))), Err(BadRedirect::TooLong));
}

#[test]
fn rfc8252_7_3_any_port_of_loopback_matches_and_nothing_else_floats() {
    assert!(matches("http://127.0.0.1/cb", "http://127.0.0.1:59656/cb"));
    assert!(matches("http://127.0.0.1:33418/cb", "http://127.0.0.1/cb"));
    assert!(matches("http://127.0.0.1", "http://127.0.0.1:1/"));
    assert!(matches("http://[::1]/cb", "http://[::1]:2/cb"));
    assert!(!matches("http://127.0.0.1/cb", "http://127.0.0.1:1/cb/"));
    assert!(!matches("http://127.0.0.1/cb", "http://127.0.0.1:1/CB"));
    assert!(!matches("http://127.0.0.1/cb", "http://127.0.0.1:1/cb?x=1"));
    assert!(!matches("http://127.0.0.1/cb", "https://127.0.0.1/cb"));
    assert!(!matches("https://127.0.0.1/cb", "https://127.0.0.1:1/cb"));
    assert!(!matches("https://claude.ai/cb", "https://claude.ai:443/cb"));
    assert!(!matches("https://claude.ai/cb", "https://Claude.ai/cb"));
    assert!(!matches("cursor://a/cb", "cursor://a:1/cb"));
}

#[test]
fn behaviour_10_the_loopback_names_stand_for_one_another_unless_told_otherwise() {
    let (own, asked) =
        (redirect("http://127.0.0.1:37819/callback/abc"), redirect("http://localhost:37819/callback/abc"));
    assert!(own.matches(&asked, Loopback::default()));
    assert!(!own.matches(&asked, DISTINCT));
    assert!(own.matches(&redirect("http://127.0.0.1:1/callback/abc"), DISTINCT));
}

/// OAuth 2.1 wants the port to float, the Security Best Practices of MCP want every byte compared: both can be had.
#[test]
fn tension_1_ports_of_loopback_float_or_count() {
    let own = redirect("http://127.0.0.1:37819/cb");
    for (asked, floating, exact) in [
        ("http://127.0.0.1:37819/cb", true, true),
        ("http://127.0.0.1:37820/cb", true, false),
        ("http://127.0.0.1/cb", true, false),
        ("http://localhost:37819/cb", false, false),
        ("http://127.0.0.1:37819/other", false, false),
    ] {
        assert_eq!(own.matches(&redirect(asked), DISTINCT), floating, "{asked}");
        assert_eq!(own.matches(&redirect(asked), EXACT), exact, "{asked}");
    }
    let alike = Loopback { ports: LoopbackPorts::Exact, ..Loopback::default() };
    assert!(own.matches(&redirect("http://localhost:37819/cb"), alike), "names and ports are two settings");
    assert!(!own.matches(&redirect("http://localhost:37820/cb"), alike));
}

#[test]
fn rfc6749_3_1_2_3_an_absent_redirect_uri_means_the_only_one() {
    let only = client(&["https://claude.ai/cb"]);
    let (answerable, parsed) = only.redirect(None, Loopback::default()).unwrap();
    assert_eq!((answerable.as_str(), parsed.as_str()), ("https://claude.ai/cb", "https://claude.ai/cb"));
    let several = client(&["https://claude.ai/cb", "https://claude.com/cb"]);
    assert_eq!(several.redirect(None, Loopback::default()), Err(RedirectRefused::Missing));
    let evil = several.redirect(Some("https://evil.example/cb"), Loopback::default());
    assert_eq!(evil, Err(RedirectRefused::NotRegistered));
}

#[test]
fn rfc6749_4_1_2_a_query_that_is_there_is_kept_byte_for_byte() {
    for (uri, wanted) in [
        ("https://a.b/cb", "https://a.b/cb?code=x+y&iss=%26"),
        ("https://a.b/cb?", "https://a.b/cb?code=x+y&iss=%26"),
        ("https://a.b/cb?k", "https://a.b/cb?k&code=x+y&iss=%26"),
        ("https://a.b/cb?k=%ff%2F&", "https://a.b/cb?k=%ff%2F&code=x+y&iss=%26"),
        ("cursor://a/cb", "cursor://a/cb?code=x+y&iss=%26"),
    ] {
        let (own, _) = client(&[uri]).redirect(Some(uri), Loopback::default()).unwrap();
        assert_eq!(own.with(&[("code", "x y"), ("iss", "&")]), wanted);
    }
}

#[test]
fn con_10_the_host_on_the_page_is_punycode_and_loopback_has_no_port() {
    let host = |uri: &str| client(&[uri]).redirect(Some(uri), Loopback::default()).unwrap().0.host();
    assert_eq!(host("https://xn--e1afmkfd.example/cb"), "https://xn--e1afmkfd.example");
    assert_eq!(host("https://CLAUDE.ai:8443/cb"), "https://claude.ai:8443");
    assert_eq!(host("http://localhost:3118/callback"), "http://localhost");
    assert_eq!(host("cursor://anysphere.cursor-mcp/oauth/callback"), "cursor://anysphere.cursor-mcp");
    assert_eq!(host("com.example.app:/cb"), "com.example.app:");
}

proptest! {
    #[test]
    fn parsing_never_panics_and_keeps_the_bytes(text in "\\PC{0,80}") {
        if let Ok(uri) = RegisteredRedirect::parse(&text) {
            prop_assert_eq!(uri.as_str(), text);
        }
    }

    #[test]
    fn whatever_is_accepted_is_a_plain_absolute_address(
        scheme in "(https|http|cursor|javascript|JavaScript|data)",
        rest in "[a-z0-9:/@#?.*%;\\\\ -]{0,40}",
    ) {
        let text = format!("{scheme}:{rest}");
        if let Ok(uri) = RegisteredRedirect::parse(&text) {
            prop_assert!(!text.contains(['#', '\\', ' ']));
            prop_assert!(!matches!(scheme.to_ascii_lowercase().as_str(), "javascript" | "data"));
            prop_assert!(scheme != "http" || uri.is_loopback());
            let url = url::Url::parse(&text).expect("absolute");
            prop_assert!(!matches!(scheme.as_str(), "https" | "http") || url.username().is_empty());
        }
    }

    #[test]
    fn a_match_is_an_equivalence_and_off_loopback_it_is_equality(
        hosts in proptest::collection::vec(
            prop_oneof!["https://[a-c]\\.example", Just("http://localhost".to_owned()), Just("http://[::1]".to_owned())], 3),
        ports in proptest::collection::vec(proptest::option::of(1_u16..5), 3),
        paths in proptest::collection::vec("/[ab]{0,2}", 3),
    ) {
        let uris: Vec<_> = (0..3)
            .map(|i| redirect(&format!("{}{}{}", hosts[i], ports[i].map(|p| format!(":{p}")).unwrap_or_default(), paths[i])))
            .collect();
        let same = |a: usize, b: usize| uris[a].matches(&uris[b], Loopback::default());
        prop_assert!(same(0, 0));
        prop_assert_eq!(same(0, 1), same(1, 0));
        prop_assert!(!(same(0, 1) && same(1, 2)) || same(0, 2));
        if !(uris[0].is_loopback() && uris[1].is_loopback()) {
            prop_assert_eq!(same(0, 1), uris[0] == uris[1]);
        }
        // What is sealed without its port still matches what was registered (D2).
        prop_assert!(uris[0].without_loopback_port().matches(&uris[0], DISTINCT));
    }
}
