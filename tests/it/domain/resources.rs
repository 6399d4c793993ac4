//! Resources: which one a client means, who may enter (RI-2, RI-4, behaviour 16, S4, S18).

use proptest::prelude::*;
use vestibule::domain::{Allow, HttpsUrl, Identity, ResourceUri, Scope, Subject, UpstreamName, resource::EmailRule};

fn notes() -> ResourceUri {
    ResourceUri::under(&HttpsUrl::parse("https://mcp.example.com", false).unwrap(), "/notes")
}

fn person(email: Option<&str>, verified: bool) -> Identity {
    Identity {
        subject: Subject::new(&UpstreamName::parse("idp").unwrap(), "1234"),
        email: email.map(str::to_owned),
        email_verified: verified,
        name: None,
        username: None,
        groups: Vec::new(),
    }
}

fn admits(rules: &[&str], email: &str) -> bool {
    let emails = rules.iter().map(|rule| EmailRule::parse(rule).unwrap()).collect();
    Allow::Only { emails, subjects: Vec::new(), groups: Vec::new() }.admits(&person(Some(email), true))
}

#[test]
fn behaviour_16_a_resource_is_known_in_the_spellings_that_clients_use() {
    for asked in [
        "https://mcp.example.com/notes",
        "https://mcp.example.com/notes/",
        "HTTPS://MCP.Example.com/notes",
        "https://mcp.example.com:443/notes",
        "https://mcp.example.com/notes?kb_name=x",
    ] {
        assert!(notes().is_meant_by(asked), "{asked}");
    }
}

#[test]
fn rfc8707_2_s4_other_resources_fragments_and_relative_uris_are_not_it() {
    for asked in [
        "https://mcp.example.com",
        "https://mcp.example.com/",
        "https://mcp.example.com/mail",
        "https://mcp.example.com/Notes",
        "https://mcp.example.com/notes/x",
        "https://mcp.example.com/notes//",
        "https://mcp.example.com:8443/notes",
        "http://mcp.example.com/notes",
        "https://mcp.example.com.evil.example/notes",
        "https://u@mcp.example.com/notes",
        "https://mcp.example.com/notes#f",
        "https://mcp.example.com/notes#",
        "https://mcp.example.com\\notes",
        "//mcp.example.com/notes",
        "/notes",
        "urn:notes",
        "",
        " https://mcp.example.com/notes",
    ] {
        assert!(!notes().is_meant_by(asked), "{asked}");
    }
}

#[test]
fn prm_6_identifiers_have_no_trailing_slash() {
    let public = HttpsUrl::parse("https://mcp.example.com/", false).unwrap();
    assert_eq!(ResourceUri::under(&public, "").as_str(), "https://mcp.example.com");
    assert_eq!(ResourceUri::under(&public, "/notes/").as_str(), "https://mcp.example.com/notes");
    assert!(ResourceUri::under(&public, "").is_meant_by("https://mcp.example.com/"));
}

#[test]
fn s18_an_address_is_meant_by_a_rule_only_if_it_is_plain() {
    assert!(admits(&["*@corp.example"], "ann@CORP.example"));
    assert!(admits(&["Ann@corp.example"], "ann@corp.EXAMPLE"));
    for email in [
        "a@evil.example@corp.example",
        "ann@corp.example@evil.example",
        "ann@sub.corp.example",
        "ann@corp.example.",
        "ann@corp.exаmple",
        "ann@notcorp.example",
        "@corp.example",
        "\"a b\"@corp.example",
        "ann@corp.example, bob@evil.example",
        "corp.example",
        "",
    ] {
        assert!(!admits(&["*@corp.example"], email), "{email}");
    }
}

#[test]
fn d15_an_unverified_address_opens_nothing_and_a_subject_needs_none() {
    let by_domain = Allow::Only {
        emails: vec![EmailRule::parse("*@corp.example").unwrap()],
        subjects: Vec::new(),
        groups: Vec::new(),
    };
    assert!(!by_domain.admits(&person(Some("ann@corp.example"), false)));
    assert!(!by_domain.admits(&person(None, true)));
    let subject = |text: &str| Allow::Only { emails: Vec::new(), subjects: vec![text.to_owned()], groups: Vec::new() };
    assert!(subject("idp:1234").admits(&person(None, false)));
    assert!(subject("1234").admits(&person(None, false)));
    assert!(!subject("other:1234").admits(&person(None, false)));
    assert!(
        !Allow::Only { emails: Vec::new(), subjects: Vec::new(), groups: Vec::new() }
            .admits(&person(Some("a@b.example"), true))
    );
    assert!(Allow::Anyone.admits(&person(None, false)));
}

#[test]
fn d15_a_lone_star_is_no_rule() {
    for rule in ["*", "*@*", "*@", "@corp.example", "a*@corp.example", "corp.example", "*@corp"] {
        assert!(EmailRule::parse(rule).is_err(), "{rule}");
    }
}

#[test]
fn rfc6749_3_3_scope_tokens_that_are_none_are_dropped_and_order_is_steady() {
    assert_eq!(Scope::parse(" b  a\tb \"x\" \\ é a").to_string(), "a b");
    assert!(Scope::parse("").is_empty());
}

proptest! {
    #[test]
    fn whatever_is_asked_for_never_panics_and_never_means_another_path(text in "\\PC{0,60}", path in "/[a-z]{1,8}") {
        let _ = notes().is_meant_by(&text);
        let asked = format!("https://mcp.example.com{path}");
        prop_assert_eq!(notes().is_meant_by(&asked), path == "/notes");
    }

    #[test]
    fn a_domain_rule_admits_only_its_domain(email in "[a-z@.*\" ]{0,30}") {
        let rule = EmailRule::parse("*@corp.example").unwrap();
        if rule.admits(&email) {
            prop_assert!(email.ends_with("@corp.example"));
            prop_assert_eq!(email.matches('@').count(), 1);
        }
    }
}
