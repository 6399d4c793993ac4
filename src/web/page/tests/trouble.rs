//! Pages for people in trouble, and what a person reads on a page.

use super::*;

#[tokio::test]
async fn behaviour_14_the_app_that_one_came_from_is_helped_first() {
    let look = look("https://h");
    let unknown = refusal(RefusalPage::UnknownClient, ErrorCode::InvalidClient);
    let page = look.refusal(StatusCode::BAD_REQUEST, &unknown, app::named("cursor"), "id");
    let html = text(page).await;
    let open = html.split_once("<details open>").unwrap().1.split_once("</details>").unwrap().0;
    assert!(open.contains("Quit Cursor completely"), "{open}");
    assert_eq!(html.matches("Quit Cursor completely").count(), 1, "and named once");
    assert!(html.contains("rm -rf ~/.mcp-auth") && html.contains("Another app"), "the others are there too");
    let expired = refusal(RefusalPage::Expired, ErrorCode::InvalidRequest);
    let html = text(look.refusal(StatusCode::BAD_REQUEST, &expired, app::named("codex"), "id")).await;
    assert!(html.contains("<h2>In Codex</h2>") && !html.contains("ChatGPT"), "{html}");
    let html = text(look.refusal(StatusCode::BAD_REQUEST, &expired, None, "id")).await;
    for app in &app::APPS {
        assert!(html.contains(app.name) && html.contains(app.again), "{}", app.name);
    }
}

#[tokio::test]
async fn own_11_a_setback_says_what_happened_what_to_do_and_under_which_name() {
    let look = look("https://h");
    for (name, setback) in setbacks() {
        let response = look.setback(&set_back(), &setback, "4f1c2a9be07d3365");
        let status = response.status().as_u16();
        let html = text(response).await;
        let expected = match name {
            "wrong-account" | "wrong-account-no-switch" => 403,
            "provider-lied" => 502,
            _ => 503,
        };
        assert_eq!(status, expected, "{name}");
        for part in ["What to do next", "Nothing was granted", "<code>4f1c2a9be07d3365</code>", "Back to Claude Code"] {
            assert!(html.contains(part), "{name} has no {part}\n{html}");
        }
        assert!(html.contains(r#"href="http://localhost:3118/callback?error=access_denied&#38;state=s""#), "{html}");
        // A person who has a choice is not hurried on.
        assert_eq!(html.contains("http-equiv=\"refresh\""), status != 403, "{name}");
        assert_eq!(html.contains("value=\"another_account\""), name == "wrong-account", "{name}");
        assert!(status == 403 || html.contains("Type /mcp"), "{name}: in their own client\n{html}");
    }
}

/// What a person reads on a page, line by line.
fn words(html: &str) -> String {
    let body = html.split_once("<main").unwrap().1.split_once('>').unwrap().1.split_once("</main>").unwrap().0;
    let texts = body.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let lines = texts.flat_map(str::lines).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn cimd_12_what_is_read_of_a_client_that_a_document_describes() {
    let look = look("https://mcp.example.com");
    let document = DocumentHost { host: "claude.ai".into(), is_trusted: false };
    let page = ConsentPage { document: Some(document), ..loopback_consent() };
    insta::assert_snapshot!(words(&text(look.consent(&page)).await), @"
    mcp.example.com
    Allow Claude Code to use Team notes?
    https://mcp.example.com/notes
    Unverified
    “Claude Code” is what
    claude.ai
    calls this app. Do you know that address? The name itself has not been checked.
    The answer goes to
    http://localhost
    http://localhost:3118/callback
    That is a program on this device. Allow it only if you started this login yourself, here, a moment ago. Any program here can say that it is this app: claude.ai does not know who is asking.
    It will be able to
    Read in your name
    notes:read
    Change things in your name
    notes:write
    Next, you log in with GitHub
    GitHub tells this server who you are. The app never sees your password.
    Allow
    Deny
    Did you not start this? Then choose Deny.
    ");
}

#[tokio::test]
async fn own_11_what_is_read_by_whoever_came_with_the_wrong_account() {
    let look = look("https://mcp.example.com");
    let (_, setback) = setbacks().swap_remove(0);
    insta::assert_snapshot!(words(&text(look.setback(&set_back(), &setback, "4f1c2a9be07d3365")).await), @"
    mcp.example.com
    This account may not use Team notes
    You logged in with Google as
    ann@home.example
    , and the operator of this server has not let that account in. Nothing was granted.
    What to do next
    Do you have another account, one of your company perhaps? Then take that one. If this is the right one, ask the operator to let it in, with the reference below.
    Use another account
    Back to Claude Code
    Reference for the operator of this server:
    4f1c2a9be07d3365
    ");
}

#[tokio::test]
async fn rfc8628_5_4_what_is_read_by_a_devices_human_with_the_wrong_account() {
    let look = look("https://mcp.example.com");
    let response = look.device_setback(&device_setback(Some("sealed-request")), "4f1c2a9be07d3365");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let html = text(response).await;
    assert_eq!(html.matches("value=\"sealed-request\"").count(), 1);
    assert!(html.contains("value=\"another_account\"") && html.contains("value=\"deny\""), "{html}");
    insta::assert_snapshot!(words(&html), @"
    mcp.example.com
    This account may not use Team notes
    You logged in with Google as
    ann@home.example
    , and the operator of this server has not let that account in. Nothing was granted.
    What to do next
    Do you have another account, one of your company perhaps? Then take that one: your device waits as long as its code is good. If this is the right one, ask the operator to let it in, with the reference below.
    Only go on if you started this yourself, on a device in front of you.
    If somebody sent you the code or a link, choose Deny: they would get in as you.
    Use another account
    Deny
    Reference for the operator of this server:
    4f1c2a9be07d3365
    ");
    let html = text(look.device_setback(&device_setback(None), "4f1c2a9be07d3365")).await;
    assert!(!html.contains("value=\"another_account\"") && html.contains("value=\"deny\""), "{html}");
    assert!(html.contains("log out at Google first") && html.contains("href=\"/device\""), "{html}");
}
