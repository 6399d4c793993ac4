//! Redirect URIs: what is accepted leads where it says, for us and for a browser alike (S7, S8). Two lines: the one that
//! was registered and the one that is asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use url::{Host, Url};
use vestibule::domain::{
    RegisteredRedirect,
    uri::{Loopback, LoopbackHosts, LoopbackPorts},
};

const STRICT: Loopback = Loopback { hosts: LoopbackHosts::Distinct, ports: LoopbackPorts::Any };
const EXACT: Loopback = Loopback { hosts: LoopbackHosts::Distinct, ports: LoopbackPorts::Exact };
const ROOMY: Loopback = Loopback { hosts: LoopbackHosts::Alike, ports: LoopbackPorts::Any };
const DEADLY: [&str; 6] = ["javascript", "data", "file", "blob", "vbscript", "about"];

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn sound(text: &str) -> Option<(RegisteredRedirect, Url)> {
    let (uri, parsed) = RegisteredRedirect::read(text).ok()?;
    assert_eq!(uri.as_str(), text, "kept byte for byte");
    // What a browser makes of it.
    let url = Url::parse(text).expect("a URL");
    assert_eq!(url, parsed);
    assert!(!DEADLY.contains(&url.scheme()), "{text}");
    assert!(url.fragment().is_none() && url.username().is_empty() && url.password().is_none(), "{text}");
    if url.scheme() == "http" {
        assert!(is_loopback(&url), "{text} leaves this machine without TLS");
    }
    assert_eq!(uri.is_loopback(), url.scheme() == "http", "{text}");
    assert!([STRICT, EXACT, ROOMY].iter().all(|loopback| uri.matches(&uri, *loopback)));
    let portless = uri.without_loopback_port();
    assert!(RegisteredRedirect::parse(portless.as_str()).is_ok(), "{}", portless.as_str());
    assert!(portless.matches(&uri, STRICT), "{text}");
    assert_eq!(portless, portless.without_loopback_port());
    Some((uri, url))
}

fuzz_target!(|text: &str| {
    let (registered, requested) = text.split_once('\n').unwrap_or((text, text));
    let Some((registered, one)) = sound(registered) else { return };
    let Some((requested, other)) = sound(requested) else { return };
    for loopback in [STRICT, EXACT, ROOMY] {
        let matches = registered.matches(&requested, loopback);
        assert_eq!(matches, requested.matches(&registered, loopback), "the same both ways: {text}");
        if !matches {
            continue;
        }
        assert_eq!((one.scheme(), one.path(), one.query()), (other.scheme(), other.path(), other.query()), "{text}");
        if one.scheme() == "http" {
            assert!(loopback == ROOMY || one.host() == other.host(), "{text}");
            assert!(loopback != EXACT || one.port() == other.port(), "{text}");
        } else {
            assert_eq!(registered, requested, "{text}");
        }
    }
});
