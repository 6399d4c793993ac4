//! The handlers of the device grant (RFC 8628): one for devices, two for their humans.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{header, request::Parts};

use super::{
    House, extract,
    oauth::{asked, credentials, first, submitted, written},
    peer,
};
use crate::domain::{GrantType, Place};

/// RFC 8628 §3.1.
pub(crate) async fn authorization(State(house): State<Arc<House>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match credentials(&parts, body).await {
        Err(unreadable) => unreadable,
        Ok((parameters, basic)) => {
            written(&parts, house.oauth.device_authorization(&parameters, basic, place(&parts)).await)
        }
    }
}

/// Whether a request to `/token` is a device that asks whether its human has agreed (RFC 8628 §3.4).
pub(crate) async fn is_poll(request: Request) -> bool {
    let (parts, body) = request.into_parts();
    let read = credentials(&parts, body).await;
    read.is_ok_and(|(parameters, _)| first(&parameters, "grant_type") == Some(GrantType::DeviceCode.as_str()))
}

/// The page on which the code is typed, or compared with the one of the link (RFC 8628 §3.3).
pub(crate) async fn ask(State(house): State<Arc<House>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asked = asked(&house, &parts);
    match extract::form(parts.uri.query().unwrap_or("").as_bytes()) {
        Err(why) => asked.unreadable(why),
        Ok(query) => {
            let browser = house.oauth.meet(house.jar.browser(&parts.headers));
            asked.step(house.oauth.ask_user_code(&query, &browser), Some(&browser))
        }
    }
}

/// The human sent the code. There are few enough codes to be guessed by a machine, so each address has few tries.
pub(crate) async fn enter(State(house): State<Arc<House>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = asked(&house, &parts);
    if let Err(wait) = house.codes.pass(peer(&parts.extensions)) {
        return asked.too_many_codes(wait);
    }
    match submitted(&parts, body).await {
        Err(why) => asked.unreadable(why),
        Ok(form) => {
            let browser = house.oauth.meet(house.jar.browser(&parts.headers));
            let step = house.oauth.enter_user_code(&form, &browser, &place(&parts)).await;
            asked.step(step, Some(&browser))
        }
    }
}

fn place(parts: &Parts) -> Place {
    let program = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Place::new(peer(&parts.extensions), program)
}
