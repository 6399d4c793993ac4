//! The door: what goes out for what comes in, over real rooms behind it.

mod admin;
mod device;
mod discovery;
mod doorway;
mod dpop;
mod killed;
mod lasting;
mod login;
mod machines;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod masters;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod outage;
mod registration;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod replicas;
mod resources;
mod sockets;
mod step_up;
