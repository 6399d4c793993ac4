//! A refresh token that is newer than the record: the store has gone back in time (docs/stores.md).

use vestibule::{
    crypto::{Keyring, Os, hash},
    domain::RefreshToken,
};

use super::{
    house::{House, but, failed},
    refresh::{Family, stores, text},
};
use crate::world::rooms::{keyring, keyring_of};

/// A failover has lost the last swaps that the store acknowledged: the record is an earlier one, and the client holds what
/// came after. It goes on, once, with the next token.
#[tokio::test]
async fn s13_behaviour_23_a_token_that_the_store_has_forgotten_goes_on() {
    for (store, _folder) in stores().await {
        let family = Family::new(House::over(store, |_, _| {}).await).await;
        let earlier = family.grant().await.unwrap();
        let second = text(&family.refresh(&family.token()).await.unwrap());
        let third = text(&family.refresh(&second).await.unwrap());
        family.house.store.put(&earlier).await.unwrap();
        let fourth = family.refresh(&third).await.unwrap();
        assert!(family.works(&fourth).await);
        assert_eq!(text(&family.refresh(&third).await.unwrap()), text(&fourth), "within its grace the same successor");
        let fifth = family.refresh(&text(&fourth)).await.unwrap();
        assert!(family.works(&fifth).await);
        // What was current in the earlier record is spent, like everything else before.
        assert_eq!(failed(family.refresh(&family.token()).await), "invalid_grant");
        assert!(!family.works(&fifth).await, "and that was a replay");
    }
}

/// S13 after the store went back: a thief who holds what has become current again, and the client who holds what came
/// after, do not live side by side. Whichever of them comes late ends the family.
#[tokio::test]
async fn s13_a_thief_gains_nothing_lasting_by_a_store_that_went_back() {
    for thief_goes_on in [false, true] {
        let family = Family::new(House::open().await).await;
        let earlier = family.grant().await.unwrap();
        let second = text(&family.refresh(&family.token()).await.unwrap());
        let third = text(&family.refresh(&second).await.unwrap());
        family.house.store.put(&earlier).await.unwrap();
        // The first token is current again, and in the wrong hands.
        let mut stolen = family.refresh(&family.token()).await.unwrap();
        if thief_goes_on {
            for _ in 0..2 {
                stolen = family.refresh(&text(&stolen)).await.unwrap();
            }
            assert_eq!(failed(family.refresh(&third).await), "invalid_grant", "not later than the thief's");
        } else {
            let mine = family.refresh(&third).await.unwrap();
            assert!(family.works(&mine).await);
            assert_eq!(failed(family.refresh(&text(&stolen)).await), "invalid_grant");
            assert!(!family.works(&mine).await);
        }
        assert!(!family.works(&stolen).await, "the family is revoked");
        assert_eq!(family.house.records_of("grant").await, 0);
    }
}

/// A later token is one that we made: nobody else's number counts, and it is bound as every other.
#[tokio::test]
async fn s11_s13_a_later_token_needs_our_mac_its_client_and_its_resource() {
    let family = Family::new(House::open().await).await;
    let id = *family.grant().await.unwrap().id.as_bytes();
    let by = |ring: &Keyring, generation| hash::issue::<RefreshToken>(ring, id, generation, &Os).1.expose().clone();
    let foreign = by(&keyring_of(9), 7);
    assert_eq!(failed(family.refresh(&foreign).await), "invalid_grant");
    let ours = keyring();
    assert_eq!(failed(family.refresh(&by(&ours, 0)).await), "invalid_grant", "of the same generation: a replay");
    assert_eq!(family.house.records_of("grant").await, 0);

    let family = Family::new(House::open().await).await;
    let id = *family.grant().await.unwrap().id.as_bytes();
    let later = hash::issue::<RefreshToken>(&ours, id, 7, &Os).1.expose().clone();
    let elsewhere = but(family.asked(&later), "resource", Some("https://mcp.example.com/other"));
    assert_eq!(failed(family.house.server.token(&elsewhere, None).await), "invalid_target");
    let other = family.house.client("https://other.example/callback");
    let strange = but(family.asked(&later), "client_id", Some(&other));
    assert_eq!(failed(family.house.server.token(&strange, None).await), "invalid_grant");
    let next = family.refresh(&later).await.unwrap();
    assert!(family.works(&next).await, "no harm was done");
}
