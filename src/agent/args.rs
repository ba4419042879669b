//! A CLI's arguments, and which ones a user may add to them.

use std::ffi::{OsStr, OsString};

use super::LaunchError;

/// Arguments in the making.
#[derive(Default)]
pub(super) struct Args(pub(super) Vec<OsString>);

impl Args {
    /// A word by itself.
    pub(super) fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    /// `flag=value`: flags that take several values would swallow the arguments after them.
    pub(super) fn value(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        let mut argument = OsString::from(flag);
        argument.push("=");
        argument.push(value);
        self.0.push(argument);
    }
}

/// What is to be known of a CLI's flags to pass a user's on.
pub(super) struct Flags {
    /// Flags that the runner sets or that would break its reading of the output, and what to use
    /// instead. Short forms stand beside their long ones.
    pub(super) owned: &'static [(&'static [&'static str], &'static str)],
    /// Flags that take a value as their next argument; all others stand alone or as
    /// `--flag=value`.
    pub(super) valued: &'static [&'static str],
}

impl Flags {
    /// Refuses arguments that set what the runner sets, and those that would be the prompt.
    pub(super) fn check(&self, extra: &[OsString]) -> Result<(), LaunchError> {
        self.check_by(extra, |owned, given| owned.contains(&short(given)))
    }

    /// The same for a CLI that reads its flags otherwise: `is` says whether a given one is one of
    /// these.
    pub(super) fn check_by(
        &self,
        extra: &[OsString],
        is: impl Fn(&[&str], &str) -> bool,
    ) -> Result<(), LaunchError> {
        let mut is_value = false;
        for argument in extra {
            if std::mem::take(&mut is_value) {
                continue;
            }
            let text = argument.to_string_lossy();
            let flag = text.split('=').next().unwrap_or_default();
            if !flag.starts_with('-') || flag == "--" || flag == "-" {
                return Err(LaunchError::Positional {
                    argument: text.into_owned(),
                });
            }
            if let Some((_, instead)) = self.owned.iter().find(|(owned, _)| is(owned, flag)) {
                return Err(LaunchError::OwnedFlag {
                    flag: flag.to_owned(),
                    instead,
                });
            }
            is_value = self.valued.contains(&text.as_ref());
        }
        Ok(())
    }
}

/// `-rID` and `-pc` are the short flag `-r` with its value and a bundle that begins with `-p`.
fn short(flag: &str) -> &str {
    match flag.as_bytes() {
        [b'-', b'-', ..] => flag,
        _ => flag.get(..2).unwrap_or(flag),
    }
}
