//! How the embedded Hub has a paused session led again.

use super::env::EnvMap;
use super::fault::ConfigError;
use super::options::Typed;
use super::place::Place;
use super::resolve::{faults, layers_of};
use super::setting;

/// The word that turns waking off.
const OFF: &str = "none";

/// What is started when a paused session is resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WakeCommand {
    /// The daemon in the background of the state dir in which the session lives.
    Own,
    /// A program and its arguments, without a shell.
    Words(Vec<String>),
    /// Nothing.
    Off,
}

/// Reads `wake_command`: `words` as typed, over the variable, over the config file.
pub fn resolve_waking(
    words: &[String],
    config: Option<&str>,
    env: &EnvMap,
    place: &Place,
) -> Result<WakeCommand, ConfigError> {
    let mut typed = Typed::new();
    if !words.is_empty() {
        typed.insert(setting::WAKE_COMMAND.key, words.to_vec());
    }
    if let Some(config) = config {
        typed.insert(setting::CONFIG.key, vec![config.to_owned()]);
    }
    let mut layers = layers_of(typed, env, place);
    let words = layers.list(&setting::WAKE_COMMAND, |word| Ok(word.to_owned()));
    faults(layers.faults)?;
    Ok(match words.as_slice() {
        [] => WakeCommand::Own,
        [word] if word == OFF => WakeCommand::Off,
        _ => WakeCommand::Words(words),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::CommandKind;

    #[test]
    fn the_command_comes_from_the_command_line_a_variable_or_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "wake_command = [\"wake\", \"it now\"]\n").unwrap();
        let file = file.to_str();
        let read = |words: &[&str], variable: Option<&str>, file| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let variables = variable.map(|text| ("AGENT_RUNNER_WAKE_COMMAND", text));
            let env: EnvMap = variables
                .into_iter()
                .chain([("HOME", "/nowhere")])
                .collect();
            let place = Place {
                command: CommandKind::Start,
                cwd: Path::new("/").to_owned(),
                container: false,
                agents: vec!["claude"],
            };
            resolve_waking(&words, file, &env, &place).unwrap()
        };
        let words = |words: &[&str]| {
            WakeCommand::Words(words.iter().map(|word| (*word).to_owned()).collect())
        };
        assert_eq!(read(&[], None, None), WakeCommand::Own);
        assert_eq!(read(&[], None, file), words(&["wake", "it now"]));
        assert_eq!(read(&[], Some("a\nb c"), file), words(&["a", "b c"]));
        assert_eq!(read(&["x"], Some("a"), file), words(&["x"]));
        assert_eq!(read(&["none"], None, file), WakeCommand::Off);
    }
}
