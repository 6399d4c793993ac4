//! Tests of `store`: one conformance suite over every backend, races, the seal, and `kill -9`.

mod conformance;
mod crash;
mod fixture;
mod races;
mod seal;
mod sled;
