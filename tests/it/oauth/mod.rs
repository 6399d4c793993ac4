//! Tests of `oauth`: the authorization server without HTTP, over a memory store, a hand-turned clock and fake providers.

mod admission;
mod asleep;
mod authorize;
mod callback;
mod cimd;
mod client_credentials;
mod code;
mod consent;
mod device;
mod dpop;
mod durable;
mod exchange;
mod house;
mod introspect;
mod jwt_bearer;
mod manage;
mod metadata;
mod pace;
mod refresh;
mod register;
mod revoke;
mod rewound;
mod setback;
