//! `providers/*.toml`, compiled in, in name order.
