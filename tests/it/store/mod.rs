//! Tests of `store`: one conformance suite over every backend, races, the seal, and `kill -9`.

mod conformance;
mod crash;
mod expiry;
mod fixture;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
pub(crate) mod postgres_server;
mod races;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub(crate) mod redis_server;
mod seal;
#[cfg(any(feature = "redis", feature = "postgres"))]
pub(crate) mod server;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod several;
mod sled;
