//! Operations that need more than every call: decided by headers on the newer wire, by the message on the older (SC-3).

use http::StatusCode;
use vestibule::domain::{
    Resource, Scope,
    step_up::{Hierarchy, Pattern, Rule, StepUp},
};

use super::gatehouse::{Gatehouse, Told, settings};

const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

fn rule(methods: &[&str], names: &[&str], scopes: &str) -> Rule {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Rule { methods: patterns(methods), names: patterns(names), scopes: Scope::parse(scopes) }
}

fn rules() -> Vec<Rule> {
    vec![
        rule(&["tools/call"], &["write_*", "delete_all"], "notes.write"),
        rule(&["tools/call"], &["delete_*"], "notes.delete"),
        rule(&["resources/read"], &["secret://*"], "notes.secret"),
        rule(&["tasks/*"], &[], "notes.tasks"),
    ]
}

fn strict(read_body: Option<usize>) -> impl FnOnce(&mut Vec<Resource>) {
    move |all| {
        all[0].step_up = StepUp { rules: rules(), read_body };
        all[0].hierarchy = Hierarchy::new(
            [
                ("notes.admin", "notes.delete notes.write"),
                ("notes.owner", "notes.admin notes.secret notes.tasks notes"),
            ]
            .map(|(broad, narrow)| (broad.to_owned(), Scope::parse(narrow)))
            .into(),
        );
    }
}

fn call(tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
}

/// The scopes that a 403 asks for.
fn wanted(answer: &Told) -> String {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\", "), "{challenge}");
    let metadata = "resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\"";
    assert_eq!(challenge.matches(metadata).count(), 1, "{challenge}");
    let (_, scope) = challenge.split_once("scope=\"").expect("scopes");
    scope.strip_suffix('"').expect("the last attribute").to_owned()
}

#[tokio::test]
async fn ch_4_ch_5_one_challenge_names_all_that_is_needed_and_all_that_is_held() {
    let gate = Gatehouse::with(settings(), strict(Some(4096))).await;
    let token = gate.token("ann", "/mcp").await;
    for (message, scopes) in [
        (call("write_note"), "notes notes.write"),
        (call("delete_all"), "notes notes.delete notes.write"),
        (call("delete_note"), "notes notes.delete"),
        (r#"{"method":"resources/read","params":{"uri":"secret://x"}}"#.to_owned(), "notes notes.secret"),
        (r#"{"method":"tasks/cancel","params":{"taskId":"1"}}"#.to_owned(), "notes notes.tasks"),
        // A batch needs what its members need, whatever stands first.
        (format!("[{},{}]", call("read"), call("write_x")), "notes notes.write"),
        // What names no tool could be any.
        (r#"{"method":"tools/call"}"#.to_owned(), "notes notes.delete notes.write"),
    ] {
        assert_eq!(wanted(&gate.say("/mcp", &token, &[], &message).await), scopes, "{message}");
    }
    assert!(gate.mcp.seen().is_empty(), "the MCP server heard nothing of any");
    for message in
        [call("read"), call("Write_note"), r#"{"method":"tools/list"}"#.into(), r#"{"id":1,"result":{}}"#.into()]
    {
        let answer = gate.say("/mcp", &token, &[("x-fake", "echo")], &message).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, message.as_str()), "byte for byte");
    }
}

#[tokio::test]
async fn ch_6_a_broad_scope_contains_the_narrower_ones() {
    let gate = Gatehouse::with(settings(), strict(Some(4096))).await;
    for (scope, tool, permitted) in [
        ("notes notes.write", "write_x", true),
        ("notes notes.write", "delete_all", false),
        ("notes notes.admin", "delete_all", true),
        ("notes.owner", "delete_all", true),
        ("notes notes.delete", "write_x", false),
    ] {
        let (token, _) = gate.token_with("ann", "/mcp", scope).await;
        let answer = gate.say("/mcp", &token, &[], &call(tool)).await;
        assert_eq!(answer.status == StatusCode::OK, permitted, "{scope} {tool}: {}", answer.text());
    }
    let (token, _) = gate.token_with("ann", "/mcp", "notes.admin").await;
    assert_eq!(
        gate.say("/mcp", &token, &[], &call("read")).await.status,
        StatusCode::FORBIDDEN,
        "not a scope of every call"
    );
}

#[tokio::test]
async fn sc_3_the_headers_of_the_newer_wire_decide_without_the_body() {
    let gate = Gatehouse::with(settings(), strict(None)).await;
    let token = gate.token("ann", "/mcp").await;
    let say = async |method: &str, name: &str| {
        let headers = [MODERN, ("mcp-method", method), ("mcp-name", name)];
        gate.say("/mcp", &token, &headers, "{not even JSON").await
    };
    assert_eq!(say("tools/call", "read").await.status, StatusCode::OK);
    assert_eq!(wanted(&say("tools/call", "write_x").await), "notes notes.write");
    assert_eq!(wanted(&say("tools/call", "=?base64?d3JpdGVfeA==?=").await), "notes notes.write", "rs_8");
    assert_eq!(say("tools/call", "=?base64?%%?=").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn rs_9_where_nothing_tells_the_operation_everything_is_needed() {
    let everything = "notes notes.delete notes.secret notes.tasks notes.write";
    let gate = Gatehouse::with(settings(), strict(None)).await;
    let token = gate.token("ann", "/mcp").await;
    let list = r#"{"method":"tools/list"}"#;
    for headers in [
        vec![],
        vec![("mcp-method", "tools/list")],
        vec![("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/list")],
        vec![MODERN],
    ] {
        assert_eq!(wanted(&gate.say("/mcp", &token, &headers, list).await), everything, "{headers:?}");
    }
    let (full, _) = gate.token_with("bob", "/mcp", everything).await;
    assert_eq!(gate.say("/mcp", &full, &[], list).await.status, StatusCode::OK);

    // The same for a body that is longer than may be read, or packed; but then it passes whole to whom it may.
    let gate = Gatehouse::with(settings(), strict(Some(64))).await;
    let (token, full) = (gate.token("ann", "/mcp").await, gate.token_with("bob", "/mcp", everything).await.0);
    let long = format!(r#"{{"method":"tools/list","padding":"{}"}}"#, "x".repeat(300_000));
    let modern = [MODERN, ("mcp-method", "tools/list"), ("x-fake", "echo")];
    assert_eq!(wanted(&gate.say("/mcp", &token, &modern, &long).await), everything, "headers alone are not believed");
    assert_eq!(wanted(&gate.say("/mcp", &token, &[("content-encoding", "gzip")], list).await), everything);
    assert_eq!(gate.say("/mcp", &full, &modern, &long).await.text(), long, "byte for byte");
}

#[tokio::test]
async fn rs_8_headers_and_message_that_disagree_are_refused() {
    let gate = Gatehouse::with(settings(), strict(Some(4096))).await;
    let everything = "notes notes.delete notes.secret notes.tasks notes.write";
    let (full, _) = gate.token_with("bob", "/mcp", everything).await;
    let before = gate.mcp.seen().len();
    for (headers, message) in [
        (vec![MODERN, ("mcp-method", "tools/list")], call("delete_all")),
        (vec![MODERN, ("mcp-method", "tools/call"), ("mcp-name", "read")], call("delete_all")),
        (vec![MODERN, ("mcp-method", "tools/call")], call("delete_all")),
        (vec![MODERN, ("mcp-method", "tools/call"), ("mcp-name", "a"), ("mcp-name", "a")], call("a")),
        (vec![MODERN, ("mcp-method", "tools/list")], format!("[{}]", call("delete_all"))),
    ] {
        let answer = gate.say("/mcp", &full, &headers, &message).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?} {message}");
        assert!(answer.text().contains("-32020"), "{}", answer.text());
    }
    for message in [r#"{"method":"tools/list","Method":"tools/call"}"#, "{", "", r#"{"method":"a","method":"b"}"#] {
        let answer = gate.say("/mcp", &full, &[], message).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{message}");
        assert!(answer.text().contains("-32600"), "{}", answer.text());
    }
    assert_eq!(gate.mcp.seen().len(), before, "the MCP server heard nothing of any");
    let agreed = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", "delete_all")];
    assert_eq!(gate.say("/mcp", &full, &agreed, &call("delete_all")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_resource_without_rules_is_not_looked_into() {
    let gate = Gatehouse::with(settings(), strict(Some(4096))).await;
    let token = gate.token("ann", "/who").await;
    let answer = gate.say("/who", &token, &[("x-fake", "echo")], r#"{"method":1,"method":2"#).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, r#"{"method":1,"method":2"#));
}
