//! Tests of `upstream`: each preset's transcript, the protocol against a strict fake, and its faults.

mod faults;
mod flow;
mod http;
mod kit;
mod presets;
