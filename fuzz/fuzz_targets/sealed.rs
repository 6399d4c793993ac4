//! Sealed values: ids of clients and consent forms. Nothing opens that was not made here, whole, for that purpose.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use vestibule::{
    crypto::{Keyring, Seeded},
    domain::ClientId,
};
use vestibule_fuzz::{Door, keyring};

thread_local! {
    static DOOR: Door = Door::new();
    static RING: Keyring = keyring();
}

fuzz_target!(|data: &[u8]| RING.with(|ring| {
    // A stranger's bytes.
    assert!(ring.open(ClientId::PURPOSE, b"", data).is_err());
    drop(ring.id_of(data));
    assert!(ring.reseal(ClientId::PURPOSE, b"", data, &Seeded::new(1)).is_err());

    // Ours, with some bits turned.
    let plain = br#"{"r":["https://desk.example/callback"],"n":"Desk"}"#;
    for sealed in
        [ring.seal_synthetic(ClientId::PURPOSE, b"", plain), ring.seal(ClientId::PURPOSE, b"", plain, &Seeded::new(1))]
    {
        assert_eq!(ring.open(ClientId::PURPOSE, b"", &sealed).as_deref(), Ok(&plain[..]));
        assert!(ring.open("oauth/form", b"", &sealed).is_err() && ring.open(ClientId::PURPOSE, b"x", &sealed).is_err());
        let mut turned = sealed.clone();
        for edit in data.chunks_exact(2) {
            let at = usize::from(edit[0]) % turned.len();
            turned[at] ^= edit[1];
        }
        assert_eq!(ring.open(ClientId::PURPOSE, b"", &turned).is_ok(), turned == sealed);
        assert!(ring.open(ClientId::PURPOSE, b"", &sealed[..data.len() % sealed.len()]).is_err());
    }

    // At the door, as bytes and as text.
    DOOR.with(|door| {
        let id = format!("{}{}", ClientId::SEALED, URL_SAFE_NO_PAD.encode(data));
        let page = door.get(&format!("/authorize?response_type=code&client_id={id}")).expect("an address");
        assert_eq!(page.status, 400, "{page:?}");
        let form = format!("request={}&decision=approve", URL_SAFE_NO_PAD.encode(data));
        let page = door.post("/consent", "application/x-www-form-urlencoded", form.as_bytes());
        assert!(page.status.is_client_error(), "{page:?}");
    });
}));
