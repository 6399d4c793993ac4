//! The only file that names `aes_gcm`.
