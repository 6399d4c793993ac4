//! Tests of `proxy`.

mod challenge;
mod gatehouse;
mod headers;
mod streams;
