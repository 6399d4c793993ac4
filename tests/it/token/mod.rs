//! Tests of `token`.

mod backend;
mod keys;
mod kit;
mod mint;
mod rotate;
mod verify;
