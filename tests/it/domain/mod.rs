//! Tests of `domain`.

mod redirects;
mod resources;
