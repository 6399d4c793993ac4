//! Tests of `store`: one conformance suite over every backend, races, the seal, and `kill -9`.

mod conformance;
mod crash;
mod fixture;
mod races;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub(crate) mod redis_server;
mod seal;
mod sled;
