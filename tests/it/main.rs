//! The one integration-test binary; a module for each room of the house.

mod attacks;
mod cli;
mod config;
mod crypto;
mod domain;
mod oauth;
mod proxy;
mod store;
mod token;
mod upstream;
mod walls;
mod web;
mod world;
