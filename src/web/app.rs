//! The apps people come from: how each is recognised, and what a person does in it when it has to connect again.
//!
//! Nothing here is a check. A name and an address only decide which steps a page in trouble shows first; whoever pretends to
//! be another app gets that app's help.

/// One MCP client, as its people know it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct App {
    /// What forms call it.
    pub(crate) slug: &'static str,
    /// What people call it.
    pub(crate) name: &'static str,
    /// How to connect again.
    pub(crate) again: &'static str,
    /// How to make it forget its registration (behaviour 14).
    pub(crate) reset: &'static str,
    /// What to type for that, if something is to be typed.
    pub(crate) command: &'static str,
}

/// The apps people ask about, most frequent first; the last is for all others.
pub(crate) const APPS: [App; 8] = [
    App {
        slug: "claude",
        name: "Claude (web, desktop, phone)",
        again: "Settings, Connectors: choose this connector, then Connect.",
        reset: "Settings, Connectors: remove this connector, then add it again with the same address.",
        command: "",
    },
    App {
        slug: "claude-code",
        name: "Claude Code",
        again: "Type /mcp, choose this server, then Authenticate.",
        reset: "Type /mcp, choose this server, then Clear authentication and Authenticate. If that is not enough, remove \
                the server and add it again:",
        command: "claude mcp remove NAME\nclaude mcp add --transport http NAME ADDRESS",
    },
    App {
        slug: "chatgpt",
        name: "ChatGPT",
        again: "Settings, Apps and Connectors: choose this connector, then Connect.",
        reset: "Settings, Apps and Connectors: delete this connector, then create it again with the same address.",
        command: "",
    },
    App {
        slug: "vscode",
        name: "VS Code",
        again: "Open the Command Palette, run MCP: List Servers, choose this server, then Start or Restart.",
        reset: "Open the Command Palette and run this command, choose this server, then restart the server in mcp.json:",
        command: "Authentication: Remove Dynamic Authentication Providers",
    },
    App {
        slug: "cursor",
        name: "Cursor",
        again: "Settings, MCP: press Connect (or Needs login) beside this server.",
        reset: "Settings, MCP: remove this server. Quit Cursor completely, start it and add the server again.",
        command: "",
    },
    App {
        slug: "codex",
        name: "Codex",
        again: "In a terminal, run: codex mcp login NAME",
        reset: "In a terminal:",
        command: "codex mcp logout NAME\ncodex mcp login NAME",
    },
    App {
        slug: "mcp-remote",
        name: "mcp-remote, as used in Claude Desktop",
        again: "Restart the app that runs it: the login opens by itself.",
        reset: "Delete what it remembers, then restart the app that runs it:",
        command: "rm -rf ~/.mcp-auth",
    },
    App {
        slug: "other",
        name: "Another app",
        again: "Find its list of MCP servers or connectors, and connect (or log in, or authenticate) this one again.",
        reset: "Find its list of MCP servers or connectors, remove this one, quit the app, and add it again with the same \
                address.",
        command: "",
    },
];

/// The app of that slug, as our own forms send it back.
pub(crate) fn named(slug: &str) -> Option<&'static App> {
    APPS.iter().find(|app| app.slug == slug)
}

/// The app that has such a redirect URI (or an answer to it), such a document or such a name.
pub(crate) fn recognise(redirect: Option<&str>, id: Option<&str>, name: Option<&str>) -> Option<&'static App> {
    let by_name = || name.and_then(of_name);
    named(id.and_then(of_document).or_else(by_name).or_else(|| redirect.and_then(of_redirect))?)
}

fn of_document(id: &str) -> Option<&'static str> {
    match id {
        "https://claude.ai/oauth/claude-code-client-metadata" => Some("claude-code"),
        id if id.starts_with("https://claude.ai/") => Some("claude"),
        id if id.starts_with("https://chatgpt.com/") => Some("chatgpt"),
        id if id.starts_with("https://vscode.dev/") => Some("vscode"),
        _ => None,
    }
}

fn of_name(name: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 8] = [
        ("claude code", "claude-code"),
        ("claude", "claude"),
        ("chatgpt", "chatgpt"),
        ("visual studio code", "vscode"),
        ("cursor", "cursor"),
        ("codex", "codex"),
        ("mcp cli proxy", "mcp-remote"),
        ("mcp-remote", "mcp-remote"),
    ];
    let name = name.to_ascii_lowercase();
    NAMES.iter().find(|(part, _)| name.contains(part)).map(|(_, slug)| *slug)
}

fn of_redirect(uri: &str) -> Option<&'static str> {
    const STARTS: [(&str, &str); 7] = [
        ("https://claude.ai/", "claude"),
        ("https://claude.com/", "claude"),
        ("https://chatgpt.com/", "chatgpt"),
        ("https://vscode.dev/", "vscode"),
        ("https://insiders.vscode.dev/", "vscode"),
        ("http://127.0.0.1:33418", "vscode"),
        ("cursor://", "cursor"),
    ];
    if let Some((_, slug)) = STARTS.iter().find(|(start, _)| uri.starts_with(start)) {
        return Some(slug);
    }
    // Programs on the person's machine are told apart by their paths.
    let rest = uri.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/')?;
    let path = path.split('?').next().unwrap_or_default();
    match host.split(':').next() {
        Some("localhost") if path == "callback" => Some("claude-code"),
        Some("127.0.0.1" | "localhost") if path.starts_with("callback/") => Some("codex"),
        Some("localhost") if path == "oauth/callback" => Some("mcp-remote"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_14_apps_are_known_by_what_they_really_send() {
        let slug = |redirect, id, name| recognise(redirect, id, name).map(|app| app.slug);
        let by_redirect = |uri| slug(Some(uri), None, None);
        assert_eq!(by_redirect("https://claude.ai/api/mcp/auth_callback"), Some("claude"));
        assert_eq!(by_redirect("http://localhost:3118/callback"), Some("claude-code"));
        assert_eq!(by_redirect("https://chatgpt.com/connector/oauth/abc"), Some("chatgpt"));
        assert_eq!(by_redirect("https://vscode.dev/redirect"), Some("vscode"));
        assert_eq!(by_redirect("http://127.0.0.1:33418/"), Some("vscode"));
        assert_eq!(by_redirect("cursor://anysphere.cursor-mcp/oauth/callback?error=x"), Some("cursor"));
        assert_eq!(by_redirect("http://127.0.0.1:37819/callback/abc?error=x"), Some("codex"));
        assert_eq!(by_redirect("http://localhost:3334/oauth/callback"), Some("mcp-remote"));
        assert_eq!(by_redirect("https://claude.ai.evil.example/"), None);
        assert_eq!(by_redirect("nonsense"), None);
        let cli = Some("https://claude.ai/oauth/claude-code-client-metadata");
        assert_eq!(slug(Some("http://127.0.0.1:1/callback"), cli, None), Some("claude-code"));
        // A name is more than an address that several share.
        assert_eq!(slug(Some("http://localhost:7777/oauth/callback"), None, Some("Codex")), Some("codex"));
        assert_eq!(slug(None, None, Some("Claude Code (notes)")), Some("claude-code"));
        assert_eq!(slug(None, None, Some("Gemini CLI MCP Client")), None);
    }

    #[test]
    fn slugs_name_one_app_each() {
        for app in &APPS {
            assert_eq!(named(app.slug), Some(app));
        }
        assert_eq!(named("<script>"), None);
    }
}
