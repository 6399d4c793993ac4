//! The one integration-test binary; a module for each room of the house.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod admin;
mod attacks;
mod cli;
mod config;
mod crypto;
mod domain;
mod fixtures;
mod oauth;
mod proxy;
mod requirements;
#[path = "../sim/mod.rs"]
mod sim;
mod store;
mod token;
mod upstream;
mod walls;
mod web;
mod world;
