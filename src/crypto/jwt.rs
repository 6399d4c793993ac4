//! The only file that names `josekit`.
