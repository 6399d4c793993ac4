//! `[register]`: the gate, its tokens, and where answers may go.

use vestibule::{
    domain::uri::{LoopbackHosts, LoopbackPorts},
    oauth::{Gate, Manage, Registration},
};

use super::{load, resolved, small};

const NEWER: &str = "the-newer-token-0123456789-0123456789";
const OLDER: &str = "the-older-token-0123456789-0123456789";

fn register(lines: &str, variables: &[(&str, &str)]) -> Result<Registration, String> {
    let text = format!("{}[register]\n{lines}\n", small());
    load(&text, variables, &[]).map(|settings| settings.oauth.registration)
}

fn tokens(registration: &Registration) -> Vec<String> {
    let Gate::Token(tokens) = &registration.gate else { panic!("{:?}", registration.gate) };
    tokens.iter().map(|token| token.expose().clone()).collect()
}

#[test]
fn nothing_written_is_an_open_gate_and_no_list() {
    let registration = register("", &[]).unwrap();
    assert!(matches!(registration.gate, Gate::Open));
    assert_eq!(registration.manage, Manage::Confidential);
    assert_eq!(registration.redirects, vestibule::oauth::RedirectRules::default());
    let settings = load(&small(), &[], &[]).unwrap();
    assert_eq!(resolved(&settings, "register.redirect_hosts"), "[\"*\"] # default");
    assert!(register("redirect_hosts = [\"a.example\", \"*\"]", &[]).unwrap().redirects.hosts.is_none());
}

#[test]
fn initial_access_tokens_come_from_everywhere_and_are_never_shown() {
    let line = "initial_access_tokens = [\"env:NEWER\", \"the-older-token-0123456789-0123456789\"]";
    assert_eq!(tokens(&register(line, &[("NEWER", NEWER)]).unwrap()), [NEWER, OLDER]);
    let both = format!("{NEWER}, {OLDER}");
    let variable = [("VESTIBULE__REGISTER__INITIAL_ACCESS_TOKENS", both.as_str())];
    assert_eq!(tokens(&register("", &variable).unwrap()), [NEWER, OLDER]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{NEWER}\n")).unwrap();
    let twin = [("VESTIBULE__REGISTER__INITIAL_ACCESS_TOKENS_FILE", file.to_str().unwrap())];
    assert_eq!(tokens(&register("", &twin).unwrap()), [NEWER]);

    let settings = load(&format!("{}[register]\n{line}\n", small()), &[("NEWER", NEWER)], &[]).unwrap();
    let shown: Vec<String> = settings.resolved.iter().map(|r| format!("{} {}", r.path, r.value)).collect();
    assert!(shown.contains(&"register.initial_access_tokens[0] *** (env:NEWER)".to_owned()), "{shown:?}");
    assert!(!format!("{shown:?}{:?}", settings.oauth.registration).contains("token-0123456789"));
}

#[test]
fn every_mistake_in_register_is_told_with_its_remedy() {
    for (lines, expected) in [
        ("initial_access_tokens = []", "is an empty list: nobody could register"),
        ("initial_access_tokens = [\"short\"]", "`vestibule secret new`"),
        ("initial_access_tokens = \"env:A\"", "initial_access_tokens = [\"env:NAME\", \"file:/path\"]"),
        ("initial_access_tokens = [7]", "register.initial_access_tokens[0]: expected a string"),
        ("initial_access_tokens = [\"env:NOT_SET\"]", "the environment variable \"NOT_SET\" is not set"),
        (
            "enabled = false\ninitial_access_tokens = [\"the-newer-token-0123456789-0123456789\"]",
            "are given, but nobody may register",
        ),
        ("manage = \"some\"", "expected confidential (clients with a secret), all or off"),
        ("redirect_hosts = [\"https://claude.ai\"]", "register.redirect_hosts[0]"),
        ("redirect_hosts = \"claude.ai\"", "write redirect_hosts = [\"claude.ai\", \"*.example.com\", \"localhost\"]"),
        ("private_schemes = [\"https\"]", "https and loopback are no private schemes"),
        ("private_schemes = [\"cur sor\"]", "expected the name of a scheme"),
        ("loopback_hosts = \"same\"", "or distinct"),
        ("loopback_ports = \"same\"", "or exact"),
        ("redirect_host = []", "did you mean `redirect_hosts`?"),
    ] {
        let told = register(lines, &[]).unwrap_err();
        assert!(told.contains(expected), "{lines}\n{told}");
        assert!(told.contains("remedy") && !told.contains("the-newer-token"), "{told}");
    }
}

#[test]
fn lists_and_loopback_are_read_as_written() {
    let text = "redirect_hosts = [\"Claude.ai\"]\nprivate_schemes = [\"Cursor://\", \"com.example.app:\"]\n\
                loopback_hosts = \"distinct\"\nloopback_ports = \"exact\"\nmanage = \"off\"";
    let registration = register(text, &[]).unwrap();
    let rules = registration.redirects;
    assert!(rules.hosts.unwrap()[0].matches("claude.ai"));
    assert_eq!(Vec::from_iter(rules.private_schemes.unwrap()), ["com.example.app", "cursor"]);
    assert_eq!((rules.loopback.hosts, rules.loopback.ports), (LoopbackHosts::Distinct, LoopbackPorts::Exact));
    assert_eq!(registration.manage, Manage::Off);
    assert_eq!(register("private_schemes = []", &[]).unwrap().redirects.private_schemes.map(|s| s.len()), Some(0));
}
