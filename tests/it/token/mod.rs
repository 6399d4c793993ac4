//! Tests of `token`.

mod keys;
mod kit;
mod mint;
mod verify;
