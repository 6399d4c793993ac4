//! What a person pastes into an MCP client to use a server behind this door. Shown on the landing pages and printed by
//! `vestibule dev`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// One client's way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The client: "Claude Code".
    pub client: &'static str,
    /// Where the text goes.
    pub place: &'static str,
    /// What is pasted.
    pub text: String,
    /// A link that does it in one click, where the client has one.
    pub link: Option<String>,
    /// What happens then.
    pub then: &'static str,
}

/// The ways in for one MCP server: `name` is what the client will call it, `url` its identifier.
#[must_use]
pub fn snippets(name: &str, url: &str) -> Vec<Snippet> {
    let (quoted_name, quoted_url) = (json(name), json(url));
    let cursor = format!("{{\"url\":{quoted_url}}}");
    vec![
        Snippet {
            client: "Claude Code",
            place: "In a terminal",
            text: format!("claude mcp add --transport http {name} {url}"),
            link: None,
            then: "Then type /mcp inside Claude Code and choose Authenticate.",
        },
        Snippet {
            client: "Claude Desktop",
            place: "In claude_desktop_config.json (Settings, Developer, Edit Config)",
            text: entry(
                "mcpServers",
                &quoted_name,
                &["\"command\": \"npx\"".to_owned(), format!("\"args\": [\"-y\", \"mcp-remote\", {quoted_url}]")],
            ),
            link: None,
            then: "Restart Claude Desktop: the browser opens for the login. If this address is on the public internet, \
                   Settings, Connectors, Add custom connector takes it as it is.",
        },
        Snippet {
            client: "VS Code",
            place: "In .vscode/mcp.json",
            text: entry("servers", &quoted_name, &["\"type\": \"http\"".to_owned(), format!("\"url\": {quoted_url}")]),
            link: Some(vscode_link(&quoted_name, &quoted_url)),
            then: "Then press Start above the entry and allow the login.",
        },
        Snippet {
            client: "Cursor",
            place: "In ~/.cursor/mcp.json",
            text: entry("mcpServers", &quoted_name, &[format!("\"url\": {quoted_url}")]),
            link: Some(cursor_link(name, &cursor)),
            then: "Then press Connect in Settings, MCP.",
        },
        Snippet {
            client: "Codex",
            place: "In a terminal",
            text: format!("codex mcp add {name} --url {url}\ncodex mcp login {name}"),
            link: None,
            then: "The second command opens the browser for the login.",
        },
    ]
}

/// A name that every client accepts, from a Resource's path or, at the root, from the host.
#[must_use]
pub fn short_name(path: &str, url: &str) -> String {
    let host = url.split("://").nth(1).unwrap_or(url).split(['/', ':']).next().unwrap_or(url);
    let source = if path.trim_matches('/').is_empty() { host } else { path };
    let sound = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = source.chars().map(sound).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "mcp".to_owned() } else { name.to_owned() }
}

/// The JSON of one server in a client's file, laid out by hand so that it reads well on a page.
fn entry(list: &str, quoted_name: &str, members: &[String]) -> String {
    let members = members.join(",\n      ");
    format!("{{\n  \"{list}\": {{\n    {quoted_name}: {{\n      {members}\n    }}\n  }}\n}}")
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

fn vscode_link(quoted_name: &str, quoted_url: &str) -> String {
    let entry = format!("{{\"name\":{quoted_name},\"type\":\"http\",\"url\":{quoted_url}}}");
    format!("vscode:mcp/install?{}", encoded(&entry))
}

fn cursor_link(name: &str, entry: &str) -> String {
    let config = STANDARD.encode(entry);
    format!("cursor://anysphere.cursor-deeplink/mcp/install?name={}&config={}", encoded(name), encoded(&config))
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_gets_what_it_reads() {
        let all = snippets("notes", "https://mcp.example.com/notes");
        let text = all.iter().map(|s| format!("{}\n{}\n", s.client, s.text)).collect::<String>();
        insta::assert_snapshot!(text, @r#"
        Claude Code
        claude mcp add --transport http notes https://mcp.example.com/notes
        Claude Desktop
        {
          "mcpServers": {
            "notes": {
              "command": "npx",
              "args": ["-y", "mcp-remote", "https://mcp.example.com/notes"]
            }
          }
        }
        VS Code
        {
          "servers": {
            "notes": {
              "type": "http",
              "url": "https://mcp.example.com/notes"
            }
          }
        }
        Cursor
        {
          "mcpServers": {
            "notes": {
              "url": "https://mcp.example.com/notes"
            }
          }
        }
        Codex
        codex mcp add notes --url https://mcp.example.com/notes
        codex mcp login notes
        "#);
        assert_eq!(
            all[3].link.as_deref(),
            Some(
                "cursor://anysphere.cursor-deeplink/mcp/install?name=notes&config=eyJ1cmwiOiJodHRwczovL21jcC5leGFtcGxlLmNvbS9ub3RlcyJ9"
            )
        );
    }

    #[test]
    fn names_are_what_every_client_accepts() {
        assert_eq!(short_name("/notes", "https://h/notes"), "notes");
        assert_eq!(short_name("/team a/Notes", "https://h/x"), "team-a-notes");
        assert_eq!(short_name("", "https://mcp.example.com"), "mcp-example-com");
        assert_eq!(short_name("", "http://127.0.0.1:8080"), "127-0-0-1");
        assert_eq!(short_name("/…", "https://h"), "mcp");
    }
}
