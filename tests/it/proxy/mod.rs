//! Tests of `proxy`.

mod challenge;
mod dpop;
mod gatehouse;
mod headers;
mod https;
mod oldest;
mod step_up;
mod streams;
