//! The device flow (RFC 8628): a code to enter in a browser on any machine, and polls until somebody has.

use std::io::{self, IsTerminal as _};

use chrono::{DateTime, Utc};
use oauth2::{
    DeviceAuthorizationUrl, DeviceCodeErrorResponse, RequestTokenError, Scope, StandardDeviceAuthorizationResponse,
};

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::{
    Outcome,
    authorize::{Scene, asked_for, known, secret_of},
    client,
    keep::{Client, Tokens},
    report::{Report, plain},
    rules as rule, say,
    server::Flow,
    token,
    wire::NoGo,
};
use crate::domain::Clock;

/// What is registered though nobody will go there: servers want one for a native client.
const REDIRECT: &str = "http://127.0.0.1/callback";
/// Modules of a code that a terminal of 80 columns holds, with the light margin.
const WIDEST: usize = 70;

/// Client, user code, tokens.
pub(super) async fn log_in(scene: &Scene<'_>, clock: &dyn Clock, report: &mut Report) -> Outcome<(Client, Tokens)> {
    let server = &scene.place.server;
    let client = match scene.given.client(scene.wire, report, server).await? {
        Some(client) => client,
        None => match known(scene, Flow::Device) {
            Some(client) => client.clone(),
            None => client::register(scene.wire, report, server, REDIRECT, scene.scope, Flow::Device).await?,
        },
    };
    report.step("device");
    let endpoint = server.device.clone();
    let endpoint = endpoint.ok_or_else(|| report.fails(&rule::AS_DEVICE, "no device_authorization_endpoint"))?;
    let oauth = token::client(&client, &server.token)
        .set_device_authorization_url(DeviceAuthorizationUrl::from_url(endpoint.clone()));
    let mut request = oauth.exchange_device_code().add_extra_param("resource", &*scene.place.resource);
    for scope in scene.scope.iter().flat_map(|scope| scope.split_whitespace()) {
        request = request.add_scope(Scope::new(scope.to_owned()));
    }
    report.asked(format!("POST {endpoint} (scope {:?})", scene.scope.unwrap_or_default()));
    let begun: Result<StandardDeviceAuthorizationResponse, _> = request.request_async(scene.wire).await;
    let begun = begun.map_err(|error| report.fails(&rule::DEVICE_BEGUN, token::told(&error, &[secret_of(&client)])))?;
    report.meets(
        &rule::DEVICE_BEGUN,
        format!("a user code for {} s, polls every {} s", begun.expires_in().as_secs(), begun.interval().as_secs()),
    );
    invite(&begun);
    report.asked(format!("POST {} (grant_type device_code), until it is decided", server.token));
    let now = || at(clock);
    let polls = oauth
        .exchange_device_access_token(&begun)
        .set_time_fn(now)
        .add_extra_param("resource", &*scene.place.resource)
        .request_async(scene.wire, tokio::time::sleep, Some(begun.expires_in().min(scene.human.patience)));
    let answer = polls.await.map_err(|error: RequestTokenError<NoGo, DeviceCodeErrorResponse>| {
        let secrets = [begun.device_code().secret().as_str(), secret_of(&client)];
        report.fails(&rule::DEVICE_DONE, token::told(&error, &secrets))
    })?;
    report.meets(&rule::DEVICE_DONE, "yes");
    report.step("token");
    let tokens = token::judged(scene.wire, report, &answer, asked_for(scene, &client), scene.now)?;
    Ok((client, tokens))
}

fn invite(begun: &StandardDeviceAuthorizationResponse) {
    let at = plain(begun.verification_uri().as_str());
    let code = plain(begun.user_code().secret());
    let mut text = format!("Go to {at} on any device and enter the code\n\n  {code}\n");
    if let Some(complete) = begun.verification_uri_complete() {
        text.push_str(&format!("\nor open {}\n", plain(complete.secret())));
        if io::stderr().is_terminal()
            && let Some(drawn) = drawn(complete.secret())
        {
            text.push_str(&format!("\n{drawn}\n"));
        }
    }
    say(&text);
}

/// A QR code in half blocks (RFC 8628 §3.3.1): light modules are drawn, which reads on dark and, by most cameras, on
/// light terminals. None where it would not fit.
fn drawn(address: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(address, EcLevel::L).ok().filter(|code| code.width() <= WIDEST)?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

fn at(clock: &dyn Clock) -> DateTime<Utc> {
    i64::try_from(clock.now().millis()).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_where_it_fits() {
        let code = drawn("https://as.example/device?user_code=WDJB-MJHT").unwrap();
        let widths: std::collections::BTreeSet<_> = code.lines().map(|line| line.chars().count()).collect();
        assert!(widths.len() == 1 && widths.iter().all(|width| *width <= 80), "{code}");
        assert_eq!(drawn(&format!("https://as.example/{}", "x".repeat(2000))), None);
    }
}
