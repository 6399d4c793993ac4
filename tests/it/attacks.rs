//! The attacks of the field, by name.
