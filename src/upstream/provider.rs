//! The preset: TOML to [`Provider`], checked, variables filled (D12).

/// Public knowledge of an identity provider.
#[derive(Debug, Clone)]
pub struct Provider {}
