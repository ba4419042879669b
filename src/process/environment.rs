//! A process environment that travels as one block and never shows its values.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The whole environment of an agent: names to values, which may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// Why a variable cannot be in an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    /// The name is empty, or holds `=` or NUL.
    #[error("{name:?} cannot be the name of an environment variable (empty, or with `=` or NUL)")]
    Name {
        /// The name.
        name: OsString,
    },
    /// The value holds NUL.
    #[error("the value of the environment variable {name:?} holds a NUL byte")]
    Value {
        /// The name.
        name: OsString,
    },
}

impl Environment {
    /// No variable at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable.
    pub fn set(
        &mut self,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> Result<(), InvalidVariable> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || name.as_bytes().iter().any(|byte| matches!(byte, b'=' | 0)) {
            return Err(InvalidVariable::Name { name });
        }
        if value.as_bytes().contains(&0) {
            return Err(InvalidVariable::Value { name });
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// Takes a variable away.
    pub fn remove(&mut self, name: impl AsRef<OsStr>) -> Option<OsString> {
        self.0.remove(name.as_ref())
    }

    /// Adds all of `other`, which wins.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// A variable's value.
    pub fn value(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// The block in which it is handed over: `NAME=value` and a NUL for each.
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in &self.0 {
            block.extend_from_slice(name.as_bytes());
            block.push(b'=');
            block.extend_from_slice(value.as_bytes());
            block.push(0);
        }
        block
    }

    /// Reads a block back; `None` when it is none.
    pub fn from_block(block: &[u8]) -> Option<Self> {
        let mut variables = BTreeMap::new();
        for entry in block.split_inclusive(|byte| *byte == 0) {
            let entry = entry.strip_suffix(&[0])?;
            let equals = memchr::memchr(b'=', entry).filter(|at| *at > 0)?;
            let (name, value) = (entry.get(..equals)?, entry.get(equals + 1..)?);
            variables.insert(
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.to_vec()),
            );
        }
        Some(Self(variables))
    }

    /// The strings for `execve`.
    pub(super) fn to_strings(&self) -> Vec<CString> {
        self.to_block()
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty())
            .filter_map(|entry| CString::new(entry).ok())
            .collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_brings_back_the_same_variables_and_debug_hides_their_values() {
        let mut environment = Environment::new();
        environment.set("KEY", "hush=hush\nsecond line").unwrap();
        environment.set("EMPTY", "").unwrap();
        let copy = Environment::from_block(&environment.to_block()).unwrap();
        assert_eq!(copy, environment);
        assert_eq!(copy.value("KEY").unwrap(), "hush=hush\nsecond line");
        assert_eq!(format!("{copy:?}"), r#"{"EMPTY", "KEY"}"#);
        assert_eq!(Environment::from_block(b""), Some(Environment::new()));
        assert_eq!(Environment::from_block(b"A=1\0torn=of"), None);
    }

    #[test]
    fn a_variable_that_would_smuggle_in_another_is_refused() {
        let mut environment = Environment::new();
        assert!(environment.set("A=B", "1").is_err());
        assert!(environment.set("", "1").is_err());
        assert!(environment.set("A", "1\0B=2").is_err());
    }
}
