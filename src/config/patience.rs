//! How long an agent may be silent, by what it is doing.

use std::time::Duration;

use super::duration::{parse_duration, show_duration};
use super::nearest::nearest;

/// Limits of an agent's silence; `None` means that it may be silent for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From its start to its first record: MCP servers start, packages are fetched.
    pub starting: Option<Duration>,
    /// For the model's next word: reasoning may take many minutes and shows nothing with some CLIs.
    pub model: Option<Duration>,
    /// In a tool that runs no process of its own. One that does may be silent for ever.
    pub tool: Option<Duration>,
    /// For a person's answer.
    pub asking: Option<Duration>,
    /// After a request that failed and is to be sent again, beyond the time that the vendor names.
    pub retrying: Option<Duration>,
    /// After its answer, while background work that it began is open; silent or not.
    pub background: Option<Duration>,
    /// After its last record, before its process is ended. No setting.
    pub linger: Duration,
    /// After the last signal of a stop, before its shim is ended as well. No setting.
    pub stopping: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            starting: Some(Duration::from_mins(5)),
            model: Some(Duration::from_mins(30)),
            tool: Some(Duration::from_hours(2)),
            asking: Some(Duration::from_hours(24)),
            retrying: Some(Duration::from_hours(1)),
            background: Some(Duration::from_mins(10)),
            linger: Duration::from_secs(10),
            // What the shim takes at most: 5 s for SIGKILL to act, 1 s for the last output, 5 s for
            // the rest of the tree.
            stopping: Duration::from_secs(15),
        }
    }
}

impl Patience {
    /// The states that have a limit of their own, as they are called in settings.
    pub const STATES: [&'static str; 6] = [
        "starting",
        "model",
        "tool",
        "asking",
        "retrying",
        "background",
    ];

    /// Changes one limit: `model=45m`, or `tool=none`.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (state, limit) = text.split_once('=').ok_or_else(|| {
            format!("`{text}` names no limit; write a state and a duration, as model=45m, or =none")
        })?;
        let limit = match limit.trim() {
            "none" => None,
            limit => Some(parse_duration(limit)?),
        };
        let state = state.trim();
        let place = match state {
            "starting" => &mut self.starting,
            "model" => &mut self.model,
            "tool" => &mut self.tool,
            "asking" => &mut self.asking,
            "retrying" => &mut self.retrying,
            "background" => &mut self.background,
            _ => {
                let hint = nearest(state, Self::STATES)
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let known = Self::STATES.join(", ");
                return Err(format!("`{state}` is no state of an agent ({known}){hint}"));
            }
        };
        *place = limit;
        Ok(())
    }

    /// All limits, as [`Patience::set`] reads them.
    pub fn show(&self) -> Vec<String> {
        let limits = [
            self.starting,
            self.model,
            self.tool,
            self.asking,
            self.retrying,
            self.background,
        ];
        let show = |(state, limit): (&str, Option<Duration>)| match limit {
            Some(limit) => format!("{state}={}", show_duration(limit)),
            None => format!("{state}=none"),
        };
        Self::STATES.into_iter().zip(limits).map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_one_by_one_and_shown_as_they_are_read() {
        let mut patience = Patience::default();
        patience.set("model=45m").unwrap();
        patience.set("tool = none").unwrap();
        assert_eq!(patience.model, Some(Duration::from_mins(45)));
        assert_eq!(patience.tool, None);
        let mut copy = Patience::default();
        for limit in patience.show() {
            copy.set(&limit).unwrap();
        }
        assert_eq!(copy, patience);
    }

    #[test]
    fn a_wrong_limit_is_told_what_is_wrong_with_it() {
        let error = |text| Patience::default().set(text).unwrap_err();
        assert!(error("modle=1m").contains("did you mean `model`?"));
        assert!(error("model").contains("write a state and a duration"));
        assert!(error("model=5").contains("has no unit"));
    }
}
