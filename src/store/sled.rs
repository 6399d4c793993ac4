//! The only file that names the `sled` crate.
