//! In memory, for `dev` and tests.
