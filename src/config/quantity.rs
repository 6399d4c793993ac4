//! Lengths of time and sizes, as people write them: `90s`, `30d`, `64MiB`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A number and its unit: `500ms`, `60s`, `15m`, `1h`, `30d`; within `least` and `most`.
pub(super) fn duration(least: &'static str, most: &'static str) -> impl Fn(&str) -> Result<Duration, String> + Copy {
    move |text| {
        let expected = || format!("expected a time from {least} to {most}, as a number and one of ms, s, m, h, d");
        let millis = scaled(text, &UNITS).ok_or_else(expected)?;
        let bounds = scaled(least, &UNITS).unwrap_or(0)..=scaled(most, &UNITS).unwrap_or(u64::MAX);
        if bounds.contains(&millis) { Ok(Duration::from_millis(millis)) } else { Err(expected()) }
    }
}

/// A number and its unit: `64MiB`; from 1 MiB to 64 GiB.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    scaled(text, &SIZES)
        .filter(|bytes| (1 << 20..=64 << 30).contains(bytes))
        .ok_or("expected a size from 1MiB to 64GiB, as a number and one of KiB, MiB, GiB")
}

/// How much of a request may be read: `64KiB`; from 1 KiB to 4 MiB. `off` is none.
pub(super) fn reading(text: &str) -> Result<Option<usize>, &'static str> {
    if text == "off" {
        return Ok(None);
    }
    scaled(text, &SIZES)
        .filter(|bytes| (1 << 10..=4 << 20).contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .map(Some)
        .ok_or("expected \"off\", or a size from 1KiB to 4MiB")
}

/// A number and its unit: `5KiB`; from 1 KiB to 64 KiB, for a document.
pub(super) fn document_size(text: &str) -> Result<usize, &'static str> {
    scaled(text, &SIZES)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| (1 << 10..=64 << 10).contains(bytes))
        .ok_or("expected a size from 1KiB to 64KiB, as a number and KiB")
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{document_size, duration, size};

    #[test]
    fn times_and_sizes_are_read_or_refused() {
        let any = duration("1ms", "3650d");
        assert_eq!(any("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(any("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(any("500 ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "60", "s", "-1s", "1.5h", "1y", "0s", "99999999999999999999s", "99999999999d", "６0s"] {
            assert!(any(bad).is_err(), "{bad}");
        }
        assert!(duration("1s", "10m")("11m").unwrap_err().contains("from 1s to 10m"));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(document_size("5KiB"), Ok(5 << 10));
        assert!(document_size("65KiB").is_err() && document_size("0KiB").is_err() && document_size("5").is_err());
        assert!(size("64").is_err());
        assert!(size("1TiB").is_err());
    }
}
