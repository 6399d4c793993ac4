//! Codes, refresh tokens, device codes and states: one credential has exactly one text, of exactly one kind (S11).
#![no_main]

use libfuzzer_sys::fuzz_target;
use url::form_urlencoded::byte_serialize;
use vestibule::{
    crypto::{
        Keyring, Seeded,
        hash::{authenticate, issue},
    },
    domain::{AuthorizationCode, CredentialKind, DeviceCode, RefreshToken, UpstreamState},
};
use vestibule_fuzz::{Door, edited, keyring};

thread_local! {
    static DOOR: Door = Door::new();
    static RING: Keyring = keyring();
}

fn strange<K: CredentialKind>(ring: &Keyring, text: &str, edits: &[u8]) {
    assert!(authenticate::<K>(ring, text).is_err(), "{text}");
    let (_, own) = issue::<K>(ring, [3; 16], 5, &Seeded::new(9));
    let own = own.expose();
    let changed = edited(own, edits);
    assert_eq!(authenticate::<K>(ring, &changed).is_ok(), changed == *own, "{changed}");
    // The same letters under another kind's name.
    let rest = &own[K::PREFIX.len()..];
    for other in ["vc_", "vr_", "vd_", "vs_"].into_iter().filter(|prefix| *prefix != K::PREFIX) {
        assert!(authenticate::<K>(ring, &format!("{other}{rest}")).is_err());
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    RING.with(|ring| {
        strange::<AuthorizationCode>(ring, &text, data);
        strange::<RefreshToken>(ring, &text, data);
        strange::<DeviceCode>(ring, &text, data);
        strange::<UpstreamState>(ring, &text, data);
    });
    let value: String = byte_serialize(text.as_bytes()).collect();
    let client = "client_id=desk&client_secret=0123456789abcdef0123456789abcdef";
    DOOR.with(|door| {
        for form in [
            format!("grant_type=refresh_token&{client}&refresh_token={value}"),
            format!("grant_type=authorization_code&{client}&code={value}&code_verifier={value}&redirect_uri={value}"),
        ] {
            let answer = door.post("/token", "application/x-www-form-urlencoded", form.as_bytes());
            assert_eq!(answer.status, 400, "{answer:?}");
        }
        let answer = door.get(&format!("/callback/idp?code=x&state={value}")).expect("an address");
        assert!(answer.status.is_client_error(), "{answer:?}");
    });
});
