//! How often one client and one person are served (behaviour 12). Addresses are counted at the door.

use vestibule::{
    domain::{ClientAuthMethod, Secret},
    oauth::{BasicCredentials, Pace},
};

use super::house::{CLAUDE, House, Human, asking, failed, parameters, redeeming, static_client};

async fn paced(client_per_minute: u32, subject_per_minute: u32) -> House {
    House::with(|settings, _| {
        settings.pace = Pace { client_per_minute, subject_per_minute };
        settings.clients.push(static_client("desk", ClientAuthMethod::ClientSecretBasic, Some("hush")));
        settings.clients.push(static_client("bank", ClientAuthMethod::ClientSecretBasic, Some("hush")));
    })
    .await
}

#[tokio::test]
async fn behaviour_12_a_client_is_counted_once_it_has_proven_itself() {
    let house = paced(10, 0).await;
    let ask = async |id: &str, secret: &str| {
        let basic = BasicCredentials { id: id.to_owned(), secret: Secret::from(secret) };
        house.server.token(&redeeming(id, "vc_made-up"), Some(basic)).await.unwrap_err()
    };
    for _ in 0..50 {
        // Who does not know the secret uses up nothing of the client's.
        assert_eq!(ask("desk", "wrong").await.code.as_str(), "invalid_client");
    }
    let mut cut = 0;
    for _ in 0..50 {
        let error = ask("desk", "hush").await;
        if error.code.as_str() == "too_many_requests" {
            assert!(error.wait.is_some_and(|wait| wait.as_secs() <= 6), "{error:?}");
            cut += 1;
        }
    }
    assert!((30..=40).contains(&cut), "{cut}");
    assert_eq!(ask("bank", "hush").await.code.as_str(), "invalid_grant", "others are not harmed");
    // The id of a public client is everybody's: it is not counted, or a stranger could use up all of Claude's.
    let claude = house.client(CLAUDE);
    for _ in 0..50 {
        assert_eq!(failed(house.redeem(&claude, "vc_made-up").await), "invalid_grant");
    }
}

#[tokio::test]
async fn rfc8628_3_5_a_device_of_a_client_that_asks_too_often_is_slowed_down() {
    let house = paced(10, 0).await;
    let asked = parameters(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", "vd_made-up"),
        ("client_id", "desk"),
    ]);
    let mut slowed = 0;
    for _ in 0..50 {
        let basic = BasicCredentials { id: "desk".to_owned(), secret: Secret::from("hush") };
        let error = house.server.token(&asked, Some(basic)).await.unwrap_err();
        if error.code.as_str() == "slow_down" {
            assert_eq!((error.code.status(), error.wait.is_some()), (400, true));
            slowed += 1;
        } else {
            assert_ne!(error.code.as_str(), "too_many_requests");
        }
    }
    assert!((30..=40).contains(&slowed), "{slowed}");
}

#[tokio::test]
async fn behaviour_12_a_person_is_counted_by_logins_and_refreshes() {
    let house = paced(0, 5).await;
    let client = house.client(CLAUDE);
    let mut token = {
        let code = house.code(&client).await;
        house.redeem(&client, &code).await.unwrap().refresh_token.unwrap()
    };
    let mut cut = 0;
    for _ in 0..20 {
        let pairs =
            [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", token.expose())];
        match house.server.token(&parameters(&pairs), None).await {
            Ok(response) => token = response.refresh_token.unwrap(),
            Err(error) => {
                assert_eq!(error.code.as_str(), "too_many_requests", "never what ends the login (behaviour 24)");
                assert_eq!(error.code.status(), 429);
                cut += 1;
            }
        }
    }
    assert!((14..=16).contains(&cut), "{cut}");
    assert_eq!(house.records_of("grant").await, 1, "and the login goes on");
    let answer = Human::new(&house).log_in(&house, &asking(&client, CLAUDE)).await;
    assert_eq!(answer["error"], "temporarily_unavailable", "at /authorize, in a code that clients know");
}
