//! A mistake tells four things: where it is, what is there, what was expected, how to mend it.

use std::fmt;

use super::tree::Origin;

/// One thing that the operator has to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Which setting: `resource[0].target`.
    pub path: String,
    /// Where it was written, or where the section begins that lacks it.
    pub origin: Origin,
    /// What is wrong. Never holds a secret.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}\n    remedy: {}", self.problem, self.remedy)
    }
}

/// What the operator wrote cannot be built from: every mistake at once.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has one mistake:")?,
            n => writeln!(f, "the configuration has {n} mistakes:")?,
        }
        for mistake in &self.0 {
            write!(f, "\n{mistake}\n")?;
        }
        Ok(())
    }
}

/// The known key that an unknown one was probably meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(unknown, key), *key))
        .filter(|(distance, key)| *distance <= 1 + key.len().min(unknown.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_key_is_found_and_a_far_one_is_not() {
        let known = ["public_url", "listen", "secret_key", "target"];
        assert_eq!(nearest("public_uri", &known), Some("public_url"));
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("tagret", &known), Some("target"));
        assert_eq!(nearest("zebra", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
