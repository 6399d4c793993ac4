//! What the pages say and carry.

mod trouble;

use http_body_util::BodyExt as _;

use super::*;
use crate::domain::{
    self, Allow, Place, ResourceUri, Scope, Secret, Trusts, UpstreamName,
    step_up::{Hierarchy, StepUp},
};
use crate::oauth::{DocumentHost, ErrorCode, RefusalPage};

fn look(url: &str) -> Look {
    Look::new(&HttpsUrl::parse(url, false).unwrap())
}

fn to(host: &str, uri: &str, is_loopback: bool, is_private_scheme: bool) -> Destination {
    Destination::Redirect { host: host.into(), uri: uri.into(), is_loopback, is_private_scheme }
}

fn from_device(program: &str, is_near: bool) -> ConsentPage {
    let destination = Destination::Device {
        code: code(),
        place: Place::new([203, 0, 113, 9].into(), Some(program)),
        is_near,
        ago: std::time::Duration::from_secs(40),
    };
    ConsentPage { client: "Build box".into(), destination, ..consent() }
}

fn loopback_consent() -> ConsentPage {
    ConsentPage {
        client: "Claude Code".into(),
        destination: to("http://localhost", "http://localhost:3118/callback", true, false),
        upstream_scopes: Vec::new(),
        ..consent()
    }
}

fn setbacks() -> Vec<(&'static str, Setback)> {
    let wrong = |account: Option<&str>, another: Option<&str>| Setback::WrongAccount {
        account: account.map(str::to_owned),
        resource_title: "Team notes".into(),
        provider: "Google".into(),
        another: another.map(Secret::from),
    };
    vec![
        ("wrong-account", wrong(Some("ann@home.example"), Some("sealed-request"))),
        ("wrong-account-no-switch", wrong(None, None)),
        ("provider-down", Setback::ProviderDown { provider: "Google".into() }),
        ("provider-lied", Setback::ProviderFailed { provider: "Google".into() }),
        ("store-down", Setback::Unavailable),
    ]
}

fn device_setback(another: Option<&str>) -> DeviceSetback {
    let setback = Setback::WrongAccount {
        account: Some("ann@home.example".into()),
        resource_title: "Team notes".into(),
        provider: "Google".into(),
        another: another.map(Secret::from),
    };
    DeviceSetback { client: "Build box".into(), setback, form: "sealed-request".into(), done: "suffix".into() }
}

fn set_back() -> Answer {
    Answer {
        url: "http://localhost:3118/callback?error=access_denied&state=s".into(),
        is_private_scheme: false,
        client: "Claude Code".into(),
        ..answer("")
    }
}

fn code() -> domain::UserCode {
    domain::UserCode::parse("BCDF-GHJK").unwrap()
}

fn user_code(given: bool, trouble: Option<UserCodeTrouble>) -> UserCodePage {
    let address =
        if given { "https://mcp.example.com/device?user_code=BCDF-GHJK" } else { "https://mcp.example.com/device" };
    UserCodePage { token: "form-token".into(), given: given.then(code), trouble, address: address.into() }
}

fn end(is_granted: bool) -> DeviceEnd {
    DeviceEnd { client: "Build box".into(), resource_title: "Team notes".into(), is_granted, done: None }
}

fn consent() -> ConsentPage {
    ConsentPage {
        sealed_request: "sealed-request".into(),
        client: "Claude".into(),
        is_static: false,
        document: None,
        destination: to("https://claude.ai", "https://claude.ai/api/mcp/auth_callback", false, false),
        resource_title: "Team notes".into(),
        resource: "https://mcp.example.com/notes".into(),
        scopes: Scope::parse("notes:read notes:write"),
        held_scopes: Scope::default(),
        provider: "GitHub".into(),
        upstream_scopes: vec!["repo".into(), "read:org".into()],
    }
}

fn refusal(page: RefusalPage, code: ErrorCode) -> Refusal {
    Refusal::new(Error::new(code, "the client_id was not issued here"), page)
}

fn resource(path: &str, title: &str) -> Arc<Resource> {
    let url = HttpsUrl::parse("https://mcp.example.com", false).unwrap();
    Arc::new(Resource {
        uri: ResourceUri::under(&url, path),
        path: path.into(),
        title: title.into(),
        target: HttpsUrl::parse("http://127.0.0.1:3000/mcp", false).unwrap(),
        upstream: UpstreamName::parse("github").unwrap(),
        scopes: Scope::parse("mcp"),
        upstream_scopes: Vec::new(),
        inject: Vec::new(),
        allow: Allow::Anyone,
        clients: Vec::new(),
        trusts: Trusts::default(),
        step_up: StepUp::default(),
        hierarchy: Hierarchy::default(),
        demands_proof: false,
        is_default: false,
    })
}

fn answer(url: &str) -> Answer {
    Answer { url: url.into(), is_private_scheme: true, client: "Cursor".into(), setback: None, done: None }
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Every page there is, by name.
fn all(look: &Look) -> Vec<(String, Response)> {
    let loopback = loopback_consent();
    let private = ConsentPage {
        client: "Cursor".into(),
        destination: to("cursor://anysphere.cursor-mcp", "cursor://anysphere.cursor-mcp/oauth/callback", false, true),
        is_static: true,
        ..consent()
    };
    let mut pages = vec![
        ("consent".to_owned(), look.consent(&consent())),
        ("consent-loopback".to_owned(), look.consent(&loopback)),
        ("consent-private".to_owned(), look.consent(&private)),
        ("done".to_owned(), look.handover(&answer("cursor://anysphere.cursor-mcp/oauth/callback?code=c&state=s"))),
        (
            "denied".to_owned(),
            look.handover(&answer("cursor://anysphere.cursor-mcp/oauth/callback?error=access_denied")),
        ),
        ("device-consent".to_owned(), look.consent(&from_device("python-requests/2.32", false))),
        ("device-code".to_owned(), look.user_code(&user_code(false, None))),
        ("device-code-given".to_owned(), look.user_code(&user_code(true, None))),
        ("device-code-unknown".to_owned(), look.user_code(&user_code(false, Some(UserCodeTrouble::Unknown)))),
        ("device-done".to_owned(), look.device_end(&end(true))),
        ("device-denied".to_owned(), look.device_end(&end(false))),
        ("nothing-here".to_owned(), look.nothing_here("4f1c2a9be07d3365")),
        ("landing".to_owned(), look.landing([resource("/notes", "Team notes")].iter())),
        ("landing-many".to_owned(), look.landing([resource("/notes", "Team notes"), resource("/wiki", "Wiki")].iter())),
    ];
    let document = |is_trusted| {
        let document = DocumentHost { host: "claude.ai".into(), is_trusted };
        ConsentPage { document: Some(document), ..loopback_consent() }
    };
    pages.push(("consent-document".to_owned(), look.consent(&document(false))));
    pages.push(("consent-document-trusted".to_owned(), look.consent(&document(true))));
    pages.push(("too-many".to_owned(), look.too_many("4f1c2a9be07d3365")));
    for (name, setback) in setbacks() {
        pages.push((name.to_owned(), look.setback(&set_back(), &setback, "4f1c2a9be07d3365")));
    }
    for (name, another) in [("device-wrong-account", Some("sealed-request")), ("device-wrong-account-no-switch", None)]
    {
        pages.push((name.to_owned(), look.device_setback(&device_setback(another), "4f1c2a9be07d3365")));
    }
    for (name, slug, page, code) in [
        ("unknown-client-vscode", "vscode", RefusalPage::UnknownClient, ErrorCode::InvalidClient),
        ("expired-claude-code", "claude-code", RefusalPage::Expired, ErrorCode::InvalidRequest),
    ] {
        let refusal = refusal(page, code);
        let page = look.refusal(StatusCode::BAD_REQUEST, &refusal, app::named(slug), "4f1c2a9be07d3365");
        pages.push((name.to_owned(), page));
    }
    let bad = RefusalPage::BadRedirect {
        requested: "https://evil.example/<b>/cb".into(),
        registered: vec!["https://claude.ai/api/mcp/auth_callback".into()],
    };
    let let_out = RefusalPage::RedirectNotLet { requested: "https://app.example/cb".into() };
    for (name, page, code) in [
        ("unknown-client", RefusalPage::UnknownClient, ErrorCode::InvalidClient),
        ("bad-redirect", bad, ErrorCode::InvalidRequest),
        ("redirect-not-let", let_out, ErrorCode::InvalidRequest),
        ("expired", RefusalPage::Expired, ErrorCode::InvalidRequest),
        ("already-done", RefusalPage::AlreadyDone, ErrorCode::InvalidRequest),
        ("other-browser", RefusalPage::OtherBrowser, ErrorCode::AccessDenied),
        ("provider-failed", RefusalPage::ProviderFailed, ErrorCode::InvalidRequest),
        ("no-access", RefusalPage::ProviderFailed, ErrorCode::AccessDenied),
        ("unavailable", RefusalPage::Unavailable, ErrorCode::TemporarilyUnavailable),
        ("device-waits", RefusalPage::DeviceWaits, ErrorCode::TemporarilyUnavailable),
        ("too-many-codes", RefusalPage::TooManyCodes, ErrorCode::SlowDown),
        ("bad-request", RefusalPage::BadRequest, ErrorCode::InvalidRequest),
    ] {
        pages.push((
            name.to_owned(),
            look.refusal(StatusCode::BAD_REQUEST, &refusal(page, code), None, "4f1c2a9be07d3365"),
        ));
    }
    pages
}

#[test]
fn con_10_every_page_has_the_strict_headers_and_no_form_action() {
    for (name, page) in all(&look("https://mcp.example.com")) {
        let headers = page.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{name}: {policy}");
        assert!(policy.ends_with("img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"), "{name}: {policy}");
        assert!(!policy.contains("form-action") && !policy.contains("unsafe"), "{name}: {policy}");
        assert_eq!(headers["x-frame-options"], "DENY", "{name}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{name}");
        assert_eq!(headers["cache-control"], "no-store", "{name}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{name}");
        assert_eq!(headers["strict-transport-security"], "max-age=31536000", "{name}");
        assert_eq!(headers["content-type"], "text/html; charset=utf-8", "{name}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{name}");
    }
    let plain = look("http://127.0.0.1:8080").consent(&consent());
    assert!(!plain.headers().contains_key("strict-transport-security"));
}

#[tokio::test]
async fn s29_pages_hold_no_script_no_foreign_address_and_the_style_that_the_policy_names() {
    for (name, page) in all(&look("https://mcp.example.com")) {
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let html = text(page).await;
        assert!(!html.contains("<script") && !html.contains(" style="), "{name}");
        let is_listener = |tail: &str| tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('=');
        assert!(!html.split(" on").skip(1).any(is_listener), "{name}");
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{name}");
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        assert!(policy.contains(&STANDARD.encode(Sha256::digest(style))), "{name}");
        for source in
            html.split("src=").skip(1).chain(html.split("<link rel=\"icon\" type=\"image/svg+xml\" href=").skip(1))
        {
            assert!(source.starts_with("\"/icon.svg\""), "{name}: {}", &source[..40]);
        }
    }
}

#[tokio::test]
async fn con_3_the_consent_page_says_who_where_and_what() {
    let html = text(look("https://mcp.example.com").consent(&consent())).await;
    for part in [
        "<h1>Allow Claude to use Team notes?</h1>",
        "Unverified",
        "<strong>https://claude.ai</strong><code>https://claude.ai/api/mcp/auth_callback</code>",
        "<code>notes:read</code>",
        "<code>notes:write</code>",
        "<code>https://mcp.example.com/notes</code>",
        "you log in with GitHub, which lets this server",
        "<code>repo</code>",
        "<code>read:org</code>",
        "<form method=\"post\" action=\"/consent\">",
        "<input type=\"hidden\" name=\"request\" value=\"sealed-request\">",
        "type=\"submit\" name=\"decision\" value=\"approve\">Allow</button>",
        "type=\"submit\" name=\"decision\" value=\"deny\">Deny</button>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    assert!(!html.contains("class=\"warn\""), "no warning where the answer goes to a web site");
}

#[tokio::test]
async fn behaviour_17_programs_and_apps_on_the_device_are_warned_of() {
    let loopback = ConsentPage { destination: to("http://localhost", "http://localhost/cb", true, false), ..consent() };
    assert!(text(look("https://h").consent(&loopback)).await.contains("That is a program on this device."));
    let private = ConsentPage { destination: to("x://y", "x://y/cb", false, true), is_static: true, ..consent() };
    let html = text(look("https://h").consent(&private)).await;
    assert!(html.contains("That is an app installed on this device.") && !html.contains("Unverified"));
}

#[tokio::test]
async fn rfc8628_5_4_a_page_for_a_device_says_whose_and_from_where_and_warns() {
    let look = look("https://mcp.example.com");
    let far = text(look.consent(&from_device("python-requests/2.32", false))).await;
    for part in
        ["BCDF-GHJK", "203.0.113.9", "python-requests/2.32", "40 seconds ago", "That is not the network you are on now"]
    {
        assert!(far.contains(part), "{part}\n{far}");
    }
    assert!(!far.contains("https://claude.ai"));
    let near = text(look.consent(&from_device("x", true))).await;
    assert!(!near.contains("That is not the network") && near.contains("Only go on if you started this yourself"));
    assert_eq!(ago(&std::time::Duration::from_secs(3)), "a moment ago");
    assert_eq!(ago(&std::time::Duration::from_secs(121)), "3 minutes ago");
    let given = text(look.user_code(&user_code(true, None))).await;
    assert!(given.contains("value=\"BCDF-GHJK\"") && given.contains("Only go on if you started this yourself"));
}

#[tokio::test]
async fn s29_what_strangers_choose_is_escaped() {
    let evil = "\"><script>alert(1)</script>'&";
    let page = ConsentPage {
        client: evil.into(),
        destination: to(evil, evil, false, false),
        resource_title: evil.into(),
        provider: evil.into(),
        upstream_scopes: vec![evil.into()],
        sealed_request: evil.into(),
        ..consent()
    };
    let look = look("https://mcp.example.com");
    let requested = RefusalPage::BadRedirect { requested: evil.into(), registered: vec![evil.into()] };
    let mut handed = answer("x:y?a=\"><script>");
    handed.client = evil.into();
    for html in [
        text(look.consent(&page)).await,
        text(look.consent(&from_device(evil, false))).await,
        text(look.refusal(StatusCode::BAD_REQUEST, &refusal(requested, ErrorCode::InvalidRequest), None, evil)).await,
        text(look.handover(&handed)).await,
        text(look.landing([resource("/notes", evil)].iter())).await,
    ] {
        assert!(!html.contains("<script") && !html.contains(evil), "{html}");
        assert!(html.contains("&#60;script&#62;"), "{html}");
    }
}

#[tokio::test]
async fn behaviour_14_reset_steps_for_every_client_that_keeps_a_dead_registration() {
    let page = refusal(RefusalPage::UnknownClient, ErrorCode::InvalidClient);
    let html = text(look("https://h").refusal(StatusCode::BAD_REQUEST, &page, None, "4f1c2a9be07d3365")).await;
    for part in [
        "Claude Code",
        "ChatGPT",
        "VS Code",
        "Remove Dynamic Authentication Providers",
        "Cursor",
        "Codex",
        "rm -rf ~/.mcp-auth",
        "<code>invalid_client</code>",
        "<code>4f1c2a9be07d3365</code>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
}

#[tokio::test]
async fn private_schemes_end_on_a_page_that_opens_the_app() {
    let look = look("https://h");
    let html = text(look.handover(&answer("cursor://a/cb?code=c&state=s"))).await;
    assert!(html.contains(r#"<meta http-equiv="refresh" content="0;url=cursor://a/cb?code=c&#38;state=s">"#), "{html}");
    assert!(html.contains(r#"<a class="button" href="cursor://a/cb?code=c&#38;state=s">Open Cursor</a>"#), "{html}");
    assert!(html.contains("you can close this window"));
    let denied = text(look.handover(&answer("cursor://a/cb?error=access_denied"))).await;
    assert!(denied.contains("Cursor was not connected"));
}

#[tokio::test]
async fn a_browser_at_a_resource_sees_what_to_paste() {
    let html = text(look("https://mcp.example.com").landing([resource("/notes", "Team notes")].iter())).await;
    for part in [
        "<h1>Team notes</h1>",
        "claude mcp add --transport http notes https://mcp.example.com/notes",
        "mcp-remote",
        ".vscode/mcp.json",
        "cursor://anysphere.cursor-deeplink/mcp/install?name=notes",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
}

/// `VESTIBULE_PAGES=folder` also writes them there, for a person to look at.
#[tokio::test]
async fn every_page_is_a_whole_document_without_script() {
    let folder = std::env::var_os("VESTIBULE_PAGES").map(std::path::PathBuf::from);
    for (name, page) in all(&look("https://mcp.example.com")) {
        let html = text(page).await;
        assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"), "{name}\n{html}");
        for part in ["<html lang=\"en\">", "name=\"viewport\"", "<title>", "<h1"] {
            assert!(html.contains(part), "{name} has no {part}\n{html}");
        }
        assert!(!html.contains("<script") && !html.contains(" onclick"), "{name}\n{html}");
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{name}.html")), html).unwrap();
            std::fs::write(folder.join("icon.svg"), ICON).unwrap();
        }
    }
}
