//! What is expected of a server, by which clause, and what its operator does when it is not so: all of it, in the order
//! in which a login meets it. `docs/login.md` is for people; this is what the tool says.

use super::report::Rule;

macro_rules! rules {
    ($($name:ident: $expected:literal, $clause:literal, $remedy:literal;)*) => {
        $(pub(super) const $name: Rule = Rule { expected: $expected, clause: $clause, remedy: $remedy };)*
        #[cfg(test)]
        const ALL: &[(&str, &Rule)] = &[$((stringify!($name), &$name)),*];
    };
}

rules! {
    // The probe.
    REACHED: "the MCP server answers a POST of initialize", "MCP 2025-11-25 transports, Streamable HTTP",
        "See that the URL is the MCP endpoint itself, that DNS, TLS and the way through the load balancer work, and that \
         an answer comes within 8 s.";
    CHALLENGED: "a call without a token is answered 401", "MCP 2026-07-28 authorization, Token Handling",
        "Answer every call without a valid token with 401, before looking at its body; never with 200, 302, 403 or 404.";
    OPEN: "a server that wants a login says so with a 401", "MCP 2026-07-28 authorization, Token Handling",
        "Nothing, if the server is meant to be open. If it is not, answer calls without a token with 401.";
    BEARER: "the 401 carries a Bearer challenge", "RFC 6750 §3; RFC 9110 §11.6.1",
        "Send `WWW-Authenticate: Bearer resource_metadata=\"https://…\"` with the 401; check that no proxy strips it.";
    POINTER: "the challenge names the metadata document", "RFC 9728 §5.1",
        "Add `resource_metadata=\"https://HOST/.well-known/oauth-protected-resource/PATH\"` to the challenge. Some clients \
         look nowhere else.";
    CHALLENGE_SCOPE: "the challenge names the scope that is needed", "MCP 2026-07-28 authorization, SHOULD",
        "Add `scope=\"…\"` to the challenge, so that clients ask for no more than is needed.";
    PROBE_MOVED: "the URL that people paste is the endpoint itself", "RFC 9110 §15.4; RFC 9728 §3.3",
        "Publish the final URL. Clients that follow a redirect of a POST are few, and `resource` is compared with the URL \
         that was typed.";

    // The metadata of the protected resource.
    POINTED: "the document that the challenge names can be fetched", "RFC 9728 §5.1",
        "Let the URL in `resource_metadata` answer 200 to a GET from anywhere, without a token.";
    PRM_FOUND: "the server publishes protected resource metadata", "RFC 9728 §3.1; MCP 2026-07-28 authorization, MUST",
        "Serve /.well-known/oauth-protected-resource/PATH (the segment goes between host and path), and let every proxy \
         in front pass it on.";
    PRM_JSON: "the document is JSON of type application/json", "RFC 9728 §3.2",
        "Answer 200 with `Content-Type: application/json` and one JSON object.";
    PRM_RESOURCE: "`resource` is the URL that was asked for", "RFC 9728 §3.3",
        "Set `resource` to the URL that people paste, byte for byte: one document for each MCP endpoint. Clients must not \
         use one that names another.";
    PRM_SERVERS: "`authorization_servers` names at least one issuer", "MCP 2026-07-28 authorization, MUST",
        "List the issuer of your authorization server, an https URL without query and fragment.";
    PRM_SCOPES: "`scopes_supported` tells what to ask for", "RFC 9728 §2",
        "List the smallest useful set of scopes: clients ask for it when the challenge names none.";

    // The metadata of the authorization server.
    LEGACY: "a server without resource metadata is its own authorization server", "MCP 2025-03-26 authorization §2.3",
        "Publish protected resource metadata (RFC 9728): clients of 2025-06-18 and later look for nothing else.";
    AS_FOUND: "the authorization server publishes metadata", "RFC 8414 §3; MCP 2026-07-28 authorization server discovery",
        "Serve /.well-known/oauth-authorization-server (path of the issuer after it) or /.well-known/openid-configuration, \
         as JSON with status 200.";
    AS_JSON: "the metadata is JSON of type application/json", "RFC 8414 §3.2",
        "Answer 200 with `Content-Type: application/json` and one JSON object.";
    AS_ISSUER: "`issuer` is the issuer that the document was asked for", "RFC 8414 §3.3",
        "Make `issuer` and the entry in `authorization_servers` the same text, to the last slash. Clients must not use a \
         document that names another issuer.";
    AS_ENDPOINT: "the endpoints that are needed are there, on https", "RFC 8414 §2; OAuth 2.1 §1.5",
        "Name authorization_endpoint and token_endpoint as absolute https URLs (http only on loopback).";
    AS_CODE: "`response_types_supported` lists \"code\"", "RFC 8414 §2",
        "Add `\"response_types_supported\": [\"code\"]`.";
    AS_S256: "`code_challenge_methods_supported` lists \"S256\"", "MCP 2026-07-28 authorization, Code Protection; RFC 7636 §4.2",
        "Support PKCE and say so: `\"code_challenge_methods_supported\": [\"S256\"]`. Clients must refuse a server that \
         does not.";
    AS_ISS: "answers carry `iss`, and the metadata says so", "RFC 9207 §3; MCP 2026-07-28 authorization, SHOULD",
        "Add `iss` to authorization responses and `\"authorization_response_iss_parameter_supported\": true`.";
    AS_DEVICE: "the metadata names a device authorization endpoint", "RFC 8628 §4",
        "Offer the device grant and name `device_authorization_endpoint`, or log in with a browser (without --device).";

    // The client.
    REGISTRABLE: "a client can introduce itself", "RFC 7591 §3; MCP 2026-07-28 client registration",
        "Offer Client ID Metadata Documents or a registration_endpoint. Until then, register a client by hand and give \
         its id with --client-id (and --redirect-uri).";
    REGISTERED: "registration is answered 201 with a client_id", "RFC 7591 §3.2.1",
        "Accept public native clients (`token_endpoint_auth_method` \"none\") with a redirect URI on 127.0.0.1 at any port \
         (RFC 8252 §7.3), or say in `error` and `error_description` what you want instead.";
    REGISTERED_STATUS: "the status of a registration is 201", "RFC 7591 §3.2.1",
        "Answer 201 Created.";
    REGISTERED_REDIRECT: "the redirect URI is registered as it was sent", "RFC 7591 §3.2.1",
        "Echo `redirect_uris` as registered; do not shorten the list silently.";
    CIMD_SUPPORTED: "the server takes Client ID Metadata Documents", "draft-ietf-oauth-client-id-metadata-document §6",
        "Support them and say so: `\"client_id_metadata_document_supported\": true`; or let clients register (RFC 7591).";
    CIMD_DOCUMENT: "the client's own document names itself and a loopback redirect URI", "draft-ietf-oauth-client-id-metadata-document §4",
        "This one is the client's: `client_id` must be the document's URL, and `redirect_uris` must hold \
         http://127.0.0.1/… or http://localhost/….";

    // The authorization.
    ANSWERED: "the browser comes back with an answer", "RFC 6749 §4.1.2; RFC 8252 §7.3",
        "If the page showed an error: an unknown client_id wants --new-client, a refused redirect_uri wants loopback \
         ports left free (RFC 8252 §7.3). If nothing happened: see the logs of the authorization server.";
    STATE: "`state` comes back as it was sent", "RFC 6749 §4.1.2, §10.12",
        "Return `state` unchanged. If yours does: somebody else answered, and it was right not to believe it.";
    ISS: "`iss` is the issuer of the metadata", "RFC 9207 §2.4",
        "Send `iss` equal to `issuer`, byte for byte. A wrong one is what a mix-up attack looks like.";
    ISS_PROMISED: "a promised `iss` is there", "RFC 9207 §2.4",
        "Send `iss` with codes and errors alike, or do not promise it in the metadata.";
    GRANTED: "the person said yes", "RFC 6749 §4.1.2.1",
        "Nothing, if somebody pressed No. Otherwise the error says what the server did not like about the request.";
    CODE: "the answer holds one code", "RFC 6749 §4.1.2",
        "Redirect with `code`, `state` and `iss`, each once.";

    // Device flow.
    DEVICE_BEGUN: "the device authorization endpoint gives a user code", "RFC 8628 §3.2",
        "Answer 200 with device_code, user_code, verification_uri and expires_in.";
    DEVICE_DONE: "the person enters the code and says yes", "RFC 8628 §3.5",
        "Nothing, if nobody did. Otherwise answer polls with authorization_pending or slow_down until it is decided.";

    // The token.
    TOKEN: "the token endpoint gives an access token", "RFC 6749 §5.1",
        "Answer 200 with access_token, token_type and expires_in; on errors 400 with a code of RFC 6749 §5.2.";
    TOKEN_TYPE: "`token_type` is Bearer", "RFC 6749 §7.1; RFC 6750 §4",
        "Send `\"token_type\": \"Bearer\"`.";
    NO_STORE: "no cache may keep the answer", "RFC 6749 §5.1",
        "Send `Cache-Control: no-store` with every token answer.";
    EXPIRES: "the answer says how long the token lives", "RFC 6749 §5.1, RECOMMENDED",
        "Send `expires_in`, in seconds: without it clients notice an expired token only by a refused call.";
    REFRESHABLE: "there is a refresh token", "MCP 2026-07-28 authorization, Refresh",
        "Issue refresh tokens to clients that list the grant, or people log in anew at every expiry.";
    SCOPE: "the scope that was asked for was given", "RFC 6749 §3.3",
        "Nothing, if the person may have no more. Otherwise grant what the challenge names.";
    AUDIENCE: "the token is for this server alone", "RFC 8707 §2.2; MCP 2026-07-28 authorization, Audience",
        "Put the value of the parameter `resource` into `aud`. A token that fits several servers can be replayed by one \
         of them at the others.";
    REFRESHED: "the refresh token gives a new access token", "RFC 6749 §6",
        "A dead refresh token is invalid_grant with status 400, an outage 503: clients throw the login away on the first \
         only.";
    ROTATED: "a public client's refresh token is replaced when it is used", "OAuth 2.1 §4.3.1; MCP 2026-07-28 authorization, Token Theft",
        "Rotate refresh tokens of public clients, with a short grace for clients that race themselves.";
    REVOKED: "the token is revoked", "RFC 7009 §2.2",
        "Answer 200 to a revocation, also for a token that is not known.";
    REVOCABLE: "the metadata names a revocation endpoint", "RFC 7009 §2; RFC 8414 §2",
        "Name `revocation_endpoint`, so that a client can give back what it no longer needs.";

    // The call.
    ACCEPTED: "the MCP server accepts the token", "RFC 6750 §2.1; MCP 2026-07-28 authorization, Token Handling",
        "The token is fresh: compare its `iss` and `aud` with what the server verifies, its clock, and whether a proxy \
         strips the Authorization header.";
    SCOPES_SUFFICE: "the scope suffices", "RFC 6750 §3.1; MCP 2026-07-28 authorization, Scope Challenge",
        "Name in the first challenge what the first calls need. For now: log in with --scope.";
    INITIALIZED: "initialize is answered with a result", "MCP 2025-11-25 lifecycle; JSON-RPC 2.0 §5",
        "The login worked. Look at the MCP server behind it.";
    TOOLS: "tools/list is answered with a result", "MCP 2025-11-25 server/tools; JSON-RPC 2.0 §5",
        "The login worked. Look at the MCP server behind it.";

    // What stands in front of the server (`doctor`).
    HOSTED_PORT: "hosted clients can come: https on port 443", "Practice of claude.ai and others",
        "Publish the server on https without a port. Hosted clients connect to no other port, and say no more than \
         that they cannot reach it.";
    HOSTED_NAME: "the name has public addresses only", "Practice of claude.ai and others",
        "Publish the name in public DNS, with addresses of the Internet; private networks and tunnels that only your own \
         machines see are for local clients.";
    EVERY_PRM: "the resource metadata can be fetched where clients look for it", "RFC 9728 §3.1",
        "Let the proxy in front pass /.well-known/oauth-protected-resource and everything below it on to the same server \
         as the MCP endpoint, unchanged and without a token. The one at the root is only there for the default server.";
    EVERY_AS: "the server metadata can be fetched where clients look for it", "RFC 8414 §3; MCP 2026-07-28 authorization server discovery",
        "Let the proxy in front pass /.well-known/oauth-authorization-server and /.well-known/openid-configuration on, with \
         everything below, unchanged and without a token.";
    SLASHES: "the URL answers with and without a slash at its end", "RFC 9110 §15.4; practice of load balancers",
        "Let the rules of the load balancer match /PATH and /PATH/*, and redirect neither: a POST that is redirected loses \
         its body or its token.";
    PREFLIGHT: "a preflight is answered without a token and allows what clients send", "Fetch, CORS protocol",
        "Answer OPTIONS with 2xx before asking for a token, with Access-Control-Allow-Origin and -Headers for \
         Authorization, Content-Type and the Mcp-* headers; see that no proxy answers it in place of the server.";
    EXPOSED: "pages may read the challenge", "Fetch, CORS protocol",
        "Send `Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id` with the 401.";
    STREAM_OPENS: "an event stream opens before anything comes on it", "MCP 2025-11-25 transports, Listening for Messages from the Server",
        "Something in between keeps an answer back until it is whole or large. Switch buffering off for the MCP endpoint \
         (nginx: proxy_buffering off; a CDN: no caching, no transformation), or let the MCP server flush its headers at once.";
    SAME_TO_ALL: "the answer does not depend on the name that a client gives itself", "Practice of bot rules",
        "Exempt the MCP endpoint, /.well-known/ and the OAuth endpoints from bot and crawler rules (at Cloudflare both the \
         bot toggle and AI Crawl Control): they refuse Claude-User and others after a perfect login.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_names_its_clause_and_a_remedy() {
        for (name, rule) in ALL {
            let words = |text: &str| text.split_whitespace().count();
            assert!(words(rule.expected) >= 3 && words(rule.remedy) >= 3, "{name}");
            let source = ["RFC ", "MCP 20", "OAuth 2.1", "draft-", "JSON-RPC", "Fetch", "Practice of "];
            assert!(source.iter().any(|source| rule.clause.starts_with(source)), "{name}: {}", rule.clause);
            assert!(rule.remedy.ends_with(['.', '…']), "{name}");
        }
    }
}
