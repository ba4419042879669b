//! Whom commits name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name or address, in bytes.
const LONGEST: usize = 256;

/// A name and an address, fit for a commit: one line each, without what git would take away or
/// read as the end of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Author {
    name: String,
    address: String,
}

/// What cannot stand in a commit as its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no author; write `Name <address>`: both of one line, without further < and >, of \
     at most {LONGEST} bytes"
)]
pub struct InvalidAuthor {
    text: String,
}

impl Author {
    /// Of both its parts.
    pub fn new(name: &str, address: &str) -> Result<Self, InvalidAuthor> {
        // Blanks alone: a line break is refused, wherever it stands.
        let (name, address) = (name.trim_matches(' '), address.trim_matches(' '));
        if is_plain(name) && is_plain(address) && !address.contains(char::is_whitespace) {
            return Ok(Self {
                name: name.to_owned(),
                address: address.to_owned(),
            });
        }
        let text = format!("{name} <{address}>").escape_debug().to_string();
        Err(InvalidAuthor { text })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Git refuses a name of nothing but these, which it takes from its ends.
fn is_plain(text: &str) -> bool {
    let says_something = |c: char| !c.is_whitespace() && !".,:;\"\\'".contains(c);
    text.len() <= LONGEST
        && text.contains(says_something)
        && !text.contains(|c: char| c.is_control() || "<>".contains(c))
}

impl FromStr for Author {
    type Err = InvalidAuthor;

    /// `Name <address>`, as git writes it.
    fn from_str(text: &str) -> Result<Self, InvalidAuthor> {
        let parts = text.trim_end().split_once('<');
        let parts = parts.and_then(|(name, rest)| Some((name, rest.strip_suffix('>')?)));
        let (name, address) = parts.ok_or_else(|| InvalidAuthor {
            text: text.escape_debug().to_string(),
        })?;
        Self::new(name, address)
    }
}

impl TryFrom<String> for Author {
    type Error = InvalidAuthor;

    fn try_from(text: String) -> Result<Self, InvalidAuthor> {
        text.parse()
    }
}

impl From<Author> for String {
    fn from(author: Author) -> Self {
        author.to_string()
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_a_name_and_an_address_of_one_line_each() {
        let ada: Author = "Ada L. <ada@example.com>".parse().unwrap();
        assert_eq!((ada.name(), ada.address()), ("Ada L.", "ada@example.com"));
        assert_eq!(ada.to_string().parse(), Ok(ada));
        let long = format!("{} <a@b>", "x".repeat(LONGEST + 1));
        for wrong in [
            "Ada",
            "<a@b>",
            "Ada <>",
            "Ada <a> <b>",
            "Ada\nEve <a@b>",
            "Ada <a@b\n>",
            "Ada\0 <a@b>",
            "Ada <a b>",
            "., <a@b>",
            "A\n <a@b>x",
            &long,
        ] {
            let parsed: Result<Author, _> = wrong.parse();
            let error = parsed.unwrap_err().to_string();
            assert!(!error.contains(['\n', '\0']), "{wrong:?}: {error}");
        }
    }
}
