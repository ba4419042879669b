//! The environment as data.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Environment variables, in order of their names.
#[derive(Clone, Default)]
pub struct EnvMap(BTreeMap<OsString, OsString>);

impl EnvMap {
    /// What this process was started with. The only reader of the process environment.
    pub fn of_this_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable's value; an empty one counts as not set, as shells and containers use it.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// All variables, for a child process.
    pub fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        self.0.iter().map(|(k, v)| (k.clone(), v.clone()))
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(k, v)| (k.as_os_str(), v.as_os_str()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for EnvMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter().map(|(k, v)| (k.into(), v.into()));
        Self(pairs.collect())
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for EnvMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
