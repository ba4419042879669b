//! What prepares the workspace before the first turn.

use std::path::PathBuf;
use std::time::Duration;

use super::duration::{parse_duration, show_duration};
use super::fault::Origin;
use super::layers::{Layers, quoted};
use super::setting;

/// A setup that takes longer is stuck, unless a setting says otherwise.
const TIMEOUT: Duration = Duration::from_mins(15);

/// What prepares the workspace before the first turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupConfig {
    /// The script; a Hub's workspace may have one as well, which is run where this is `None`.
    pub script: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
    /// What becomes of the session when it fails.
    pub on_failure: OnFailure,
}

/// What becomes of a session whose setup fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is not led: nothing is asked of the agent.
    Fail,
    /// It goes on, with a warning.
    Continue,
}

impl OnFailure {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Continue => "continue",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        match word {
            "fail" => Ok(Self::Fail),
            "continue" => Ok(Self::Continue),
            _ => Err(format!("`{word}` is not one of fail, continue")),
        }
    }
}

impl std::fmt::Display for OnFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(super) fn setup(layers: &mut Layers<'_>) -> SetupConfig {
    let timeout = layers.value(&setting::SETUP_TIMEOUT, parse_duration);
    if timeout.is_none() {
        let shown = quoted(&show_duration(TIMEOUT));
        layers.show(setting::SETUP_TIMEOUT.key, shown, Origin::Default);
    }
    SetupConfig {
        script: layers.file(&setting::SETUP),
        timeout: timeout.unwrap_or(TIMEOUT),
        on_failure: layers.value_or(
            &setting::SETUP_ON_FAILURE,
            OnFailure::Fail,
            OnFailure::parse,
        ),
    }
}
