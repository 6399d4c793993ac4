//! # Vestibule: one house, every arrow falls
//!
//! A *vestibule* is the chamber between an outer and an inner door. An MCP client passes one PKCE flow at the outer
//! door (ours); its human passes a second one at the inner door (Google, GitHub, Auth0, Cognito, …); nobody ever holds
//! the key of both.
//!
//! A stranger's request enters by the door ([`web`]), is decided upstairs ([`oauth`] for granting, [`proxy`] for
//! spending, [`admin`] for seeing and ending), leans on one mint ([`token`]), one memory ([`store`]), one voice to the
//! world ([`upstream`]), one safe ([`crypto`]), and all speak one language ([`domain`]). [`config`] turns what the
//! operator wrote into what the rooms need; [`cli`] builds the house.
//!
//! Floors, from the ground: `domain` < `crypto` < { `upstream`, `store` } < `token` < { `oauth`, `proxy`, `admin` } <
//! `web` < `config` < `cli`. No import runs upward and none between siblings; `tests/it/walls.rs` fails when one does.

pub mod admin;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod oauth;
pub mod proxy;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod upstream;
pub mod web;
