//! Tests of `proxy`.

mod challenge;
mod gatehouse;
mod headers;
mod https;
mod streams;
