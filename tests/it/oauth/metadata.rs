//! Discovery (ASM-*, PRM-*, behaviours 2 to 4).

use serde_json::Value;
use vestibule::oauth::Gate;

use super::house::{House, resource};

fn text(document: &[u8]) -> String {
    serde_json::to_string_pretty(&serde_json::from_slice::<Value>(document).unwrap()).unwrap()
}

#[tokio::test]
async fn rfc8414_2_behaviour_4_the_server_says_exactly_what_is_on() {
    let house = House::open().await;
    insta::assert_snapshot!(text(&house.server.metadata()), @r#"
    {
      "issuer": "https://mcp.example.com",
      "authorization_endpoint": "https://mcp.example.com/authorize",
      "token_endpoint": "https://mcp.example.com/token",
      "registration_endpoint": "https://mcp.example.com/register",
      "revocation_endpoint": "https://mcp.example.com/revoke",
      "introspection_endpoint": "https://mcp.example.com/introspect",
      "jwks_uri": "https://mcp.example.com/jwks",
      "scopes_supported": [
        "offline_access",
        "read",
        "write"
      ],
      "response_types_supported": [
        "code"
      ],
      "response_modes_supported": [
        "query"
      ],
      "grant_types_supported": [
        "authorization_code",
        "refresh_token"
      ],
      "token_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post"
      ],
      "revocation_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post"
      ],
      "introspection_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post"
      ],
      "code_challenge_methods_supported": [
        "S256"
      ],
      "dpop_signing_alg_values_supported": [
        "ES256",
        "Ed25519",
        "EdDSA",
        "RS256",
        "PS256"
      ],
      "authorization_response_iss_parameter_supported": true,
      "subject_types_supported": [
        "public"
      ],
      "id_token_signing_alg_values_supported": [
        "ES256"
      ]
    }
    "#);
}

#[tokio::test]
async fn asm_8_no_registration_endpoint_where_registration_is_off() {
    let house = House::with(|settings, _| settings.registration.gate = Gate::Closed).await;
    let document: Value = serde_json::from_slice(&house.server.metadata()).unwrap();
    assert!(document.get("registration_endpoint").is_none());
    assert_eq!(super::house::failed(house.server.register(b"{}", None)), "access_denied");
}

#[tokio::test]
async fn rfc9728_2_behaviour_2_every_resource_has_its_document() {
    let house = House::open().await;
    insta::assert_snapshot!(text(&house.server.protected_resource("/notes").unwrap()), @r#"
    {
      "resource": "https://mcp.example.com/notes",
      "resource_name": "Resource /notes",
      "authorization_servers": [
        "https://mcp.example.com"
      ],
      "scopes_supported": [
        "read",
        "write"
      ],
      "bearer_methods_supported": [
        "header"
      ],
      "dpop_signing_alg_values_supported": [
        "ES256",
        "Ed25519",
        "EdDSA",
        "RS256",
        "PS256"
      ]
    }
    "#);
    let mail: Value = serde_json::from_slice(&house.server.protected_resource("/mail/").unwrap()).unwrap();
    assert_eq!(mail["resource"], "https://mcp.example.com/mail");
    assert!(house.server.protected_resource("/other").is_none());
    assert_eq!(house.server.protected_resource(""), house.server.protected_resource("/notes"));
}

#[tokio::test]
async fn prm_11_the_root_speaks_only_where_it_is_clear_of_whom() {
    let unclear = House::with(|_, resources| resources.iter_mut().for_each(|r| r.is_default = false)).await;
    assert!(unclear.server.protected_resource("").is_none());
    let sole = House::with(|_, resources| *resources = vec![resource("/mail", "hub")]).await;
    assert_eq!(sole.server.protected_resource(""), sole.server.protected_resource("/mail"));
    let at_root = House::with(|_, resources| resources.push(resource("", "idp"))).await;
    let root: Value = serde_json::from_slice(&at_root.server.protected_resource("").unwrap()).unwrap();
    assert_eq!(root["resource"], "https://mcp.example.com");
}
