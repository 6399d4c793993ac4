//! Logs and their switches. Ground floor: every room may speak through `tracing`; only `cli` starts it.
