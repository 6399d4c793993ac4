//! `vestibule login`: at our own house, at a stranger's, and at liars'.

mod devices;
mod doctor;
mod keep;
mod kit;
mod liars;
mod sessions;
mod stranger;
mod town;
