//! Static clients in the file, and what they may do.

use vestibule::domain::Allow;

use super::{but, load, mistakes, small};

#[test]
fn static_clients_are_read_or_refused() {
    let client = |text: &str| small() + "[[client]]\n" + text;
    let sound = client("id = \"c\"\nname = \"C\"\nsecret = \"shh\"\nredirect_uris = [\"http://127.0.0.1/cb\"]");
    let settings = load(&sound, &[], &[]).unwrap();
    let own = &settings.oauth.clients[0];
    assert_eq!(own.client.auth_method.as_str(), "client_secret_basic");
    assert_eq!(own.secret.as_ref().unwrap().expose(), "shh");
    for (text, problem) in [
        ("redirect_uris = []", "client[0].id: is missing"),
        ("id = \"c\"", "client[0].redirect_uris: is missing"),
        ("id = \"https://c.example\"\nredirect_uris = []", "metadata document"),
        ("id = \"c\"\nredirect_uris = [\"javascript:alert(1)\"]", "this scheme is never redirected to"),
        ("id = \"c\"\nredirect_uris = [\"http://c.example/cb\"]", "http is only accepted on localhost"),
        ("id = \"c\"\nredirect_uris = []\nauth_method = \"client_secret_post\"", "is missing for this auth_method"),
        ("id = \"c\"\nredirect_uris = []\nauth_method = \"none\"\nsecret = \"x\"", "is given, but auth_method is"),
        (
            "id = \"c\"\ngrants = [\"password\"]\nredirect_uris = []",
            "client[0].grants[0]: \"password\": expected authorization",
        ),
        ("id = \"c\"\ngrants = [\"device_code\"]", "write [device] enabled = true"),
        ("id = \"c\"\ngrants = [\"client_credentials\"]", "the client proves itself by nothing"),
        ("id = \"c\"\ngrants = [\"refresh_token\"]", "lets the client begin nothing"),
        ("id = \"c\"\ngrants = [\"refresh_token\", \"device_code\"]\nredirect_uris = []", "take one of them out"),
        ("id = \"c\"\nredirect_uris = []\nauth_method = \"client_secret_jwt\"", "expected none, client_secret_basic"),
        ("id = \"c\"\nredirect_uris = []\nauth_method = \"private_key_jwt\"", "needs the client's public keys"),
        ("id = \"c\"\nredirect_uris = []\njwks = \"{}\"", "only private_key_jwt has keys"),
        ("id = \"c\"\nredirect_uris = []\nauth_method = \"private_key_jwt\"\njwks = \"{}\"", "is not a JWK set"),
        (
            "id = \"c\"\nredirect_uris = []\nauth_method = \"private_key_jwt\"\njwks = '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}'",
            "holds private or symmetric key material",
        ),
        (
            "id = \"c\"\nredirect_uris = []\nauth_method = \"private_key_jwt\"\njwks_uri = \"http://keys.example/k\"",
            "plain http is only accepted on loopback",
        ),
    ] {
        assert!(mistakes(&client(text)).contains(problem), "{text}: {}", mistakes(&client(text)));
    }
    let device = client("id = \"c\"\ngrants = [\"device_code\"]\n[device]\nenabled = true\nlife = \"5m\"");
    let settings = load(&device, &[], &[]).unwrap();
    assert!(settings.oauth.clients[0].client.redirect_uris.is_empty());
    assert_eq!(settings.oauth.device.unwrap().life, std::time::Duration::from_secs(300));
    assert!(load(&small(), &[], &[]).unwrap().oauth.device.is_none(), "off by default");
    let twice = client("id = \"c\"\nredirect_uris = []\n[[client]]\nid = \"c\"\nredirect_uris = []");
    assert!(mistakes(&twice).contains("another [[client]] has this id"));
}

#[test]
fn cc_1_a_server_names_the_clients_that_act_for_themselves() {
    let robot = "[[client]]\nid = \"robot\"\nsecret = \"shh\"\ngrants = [\"client_credentials\"]\n";
    let with = |rule: &str, inject: &str| {
        but("allow = \"anyone\"", &format!("allow = {rule}")) + &format!("inject = {inject}\n{robot}")
    };
    let identity = "\"identity\"";
    let settings = load(&with(r#"{ clients = ["robot"] }"#, identity), &[], &[]).unwrap();
    assert_eq!(settings.resources[0].clients.len(), 1);
    let nobody = Allow::Only { emails: Vec::new(), subjects: Vec::new(), groups: Vec::new() };
    assert_eq!(settings.resources[0].allow, nobody, "no person is meant");
    let both = load(&with(r#"{ anyone = true, clients = ["robot"] }"#, identity), &[], &[]).unwrap();
    assert_eq!((&both.resources[0].allow, both.resources[0].clients.len()), (&Allow::Anyone, 1));
    assert!(load(&with("\"anyone\"", identity), &[], &[]).unwrap().resources[0].clients.is_empty());
    let told = mistakes(&with(r#"{ clients = ["robbot"] }"#, identity));
    assert!(told.contains("there is no [[client]] of this id whose grants hold client_credentials"), "{told}");
    let told = mistakes(&with(r#"{ clients = ["robot"] }"#, "\"upstream_token\""));
    assert!(told.contains("names clients, but inject hands on the provider's token"), "{told}");
}
