//! One query string or form, judged for repetition (RFC 6749 §3.1, RFC 8707 §2).

use super::{Error, ErrorCode};

/// One query string or form, in order, decoded; duplicates are still in it (AZ-9 is judged here, not in `web`).
pub type Parameters = Vec<(String, String)>;

/// More parameters than any client sends; beyond it nothing is looked at, so that looking stays cheap.
const MOST: usize = 64;

/// A look at somebody's parameters. One without a value counts as left out (RFC 6749 §3.1).
#[derive(Clone, Copy)]
pub(super) struct Given<'a>(&'a [(String, String)]);

impl<'a> Given<'a> {
    pub(super) fn new(parameters: &'a Parameters) -> Self {
        Self(parameters)
    }

    /// The parameter, if it is there exactly once; `Err` if it is repeated.
    pub(super) fn one(self, name: &'static str) -> Result<Option<&'a str>, Error> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_some() {
            return Err(Error::new(ErrorCode::InvalidRequest, format!("{name} is repeated")));
        }
        Ok(first)
    }

    /// The parameter, where having it twice was dealt with before.
    pub(super) fn first(self, name: &'static str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Every value of a parameter that may be repeated.
    pub(super) fn all(self, name: &'static str) -> impl Iterator<Item = &'a str> {
        let Self(pairs) = self;
        pairs.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// AZ-9: no parameter comes twice but `resource` and `audience`, also none that we do not know.
    pub(super) fn check(self) -> Result<Self, Error> {
        let Self(pairs) = self;
        if pairs.len() > MOST {
            return Err(Error::new(ErrorCode::InvalidRequest, "too many parameters"));
        }
        for (at, (name, _)) in pairs.iter().enumerate() {
            // RFC 8693 §2.1 lets `audience` be repeated too.
            if !matches!(name.as_str(), "resource" | "audience")
                && pairs[..at].iter().any(|(earlier, _)| earlier == name)
            {
                return Err(Error::new(ErrorCode::InvalidRequest, "a parameter is repeated"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn rfc6749_3_1_an_empty_parameter_counts_as_left_out() {
        let parameters = given(&[("scope", ""), ("state", "x")]);
        let given = Given::new(&parameters);
        assert_eq!(given.one("scope").unwrap(), None);
        assert_eq!(given.one("state").unwrap(), Some("x"));
    }

    #[test]
    fn rfc6749_3_1_only_resource_may_be_repeated() {
        assert!(Given::new(&given(&[("resource", "a"), ("resource", "b")])).check().is_ok());
        assert!(Given::new(&given(&[("state", "a"), ("state", "a")])).check().is_err());
        assert!(Given::new(&given(&[("x", "a"), ("y", "b"), ("x", "c")])).check().is_err());
        assert!(Given::new(&vec![("resource".to_owned(), "a".to_owned()); 65]).check().is_err());
    }
}
