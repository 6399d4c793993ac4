//! An address as a QR code, drawn as one path of an inline SVG. The only file of this room that names `qrcode`.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code, which readers need (ISO/IEC 18004).
const QUIET: usize = 4;

/// A drawn code.
pub(crate) struct Qr {
    /// Its width and height in modules, the quiet zone included.
    pub(crate) size: usize,
    /// Its dark modules, as the `d` of an SVG path.
    pub(crate) path: String,
}

impl Qr {
    /// The code of a text; `None` beyond what one can hold, about two thousand bytes.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        let mut path = String::new();
        for (y, row) in code.to_colors().chunks(width).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|a, b| a == b) {
                if run[0] == Color::Dark {
                    path.push_str(&format!("M{} {}h{}v1h-{}z", x + QUIET, y + QUIET, run.len(), run.len()));
                }
                x += run.len();
            }
        }
        Some(Self { size: width + 2 * QUIET, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_finders_and_its_quiet_zone() {
        let qr = Qr::of("https://mcp.example.com/device?user_code=BCDF-GHJK").unwrap();
        // Version 3 or 4 at level M: 29 or 33 modules.
        assert!(matches!(qr.size, 37 | 41), "{}", qr.size);
        // The first finder: a bar of seven in the first row, at both ends.
        assert!(qr.path.starts_with("M4 4h7v1h-7z"), "{}", &qr.path[..40]);
        assert!(qr.path.contains(&format!("M{} 4h7v1h-7z", qr.size - 4 - 7)));
        assert!(Qr::of(&"x".repeat(10_000)).is_none());
    }
}
