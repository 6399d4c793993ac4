//! Tests of `token`.

mod backend;
mod keys;
pub(crate) mod kit;
mod mint;
mod rotate;
mod unused;
mod verify;
