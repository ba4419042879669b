//! What to check out: a branch, a tag or a commit.

use std::fmt;

/// A name that git takes as a branch's or tag's, or a whole commit id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

/// Why a text is no revision.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no name of a branch, tag or commit; write it as `git branch` shows it")]
pub struct InvalidRevision(String);

impl Revision {
    /// Reads a branch, a tag or a commit's 40 hex digits.
    pub fn parse(text: &str) -> Result<Self, InvalidRevision> {
        let legal =
            !text.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{text}"));
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRevision(text.escape_debug().to_string()))
        }
    }

    /// The name as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, if this is one's whole id.
    pub fn commit(&self) -> Option<git2::Oid> {
        (self.0.len() == 40)
            .then(|| git2::Oid::from_str(&self.0).ok())
            .flatten()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_refuses_are_no_revisions() {
        for bad in [
            "", "-b", "a b", "a..b", "a~1", "a^", "x:y", "a.lock", "/a", "a//b", "@{u}", "a\n",
        ] {
            assert!(Revision::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["main", "feature/x", "v1.2.3", &"a".repeat(40)] {
            assert_eq!(Revision::parse(good).unwrap().as_str(), good);
        }
    }
}
