//! What one asked for a session: kept with it, so that it can be opened again as it was made.
//!
//! Holds no secret: keys and tokens are named by their files, or come from the environment of
//! whoever asks. What nobody asked for is not in it: the config file and the defaults lie below
//! it each time that it is resolved.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use serde::{Deserialize, Serialize};

use super::agent_env::is_ours;
use super::env::EnvMap;
use super::expected::ExpectedReport;
use super::fault::{ConfigError, Origin};
use super::nearest::nearest;
use super::options::Typed;
use super::place::Place;
use super::resolve::{Given, default_file, layers, layers_of, settle};
use super::setting::{self, Setting, Shape};
use super::{Config, layers::Layers};

/// Settings of a session by their keys in the config file; a list has several values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionSettings(BTreeMap<String, Vec<String>>);

/// What a session may have of its own. The rest belongs to the daemon or to a command's output.
const OWN: &[&Setting] = &[
    &setting::CONFIG,
    &setting::AGENT,
    &setting::MODE,
    &setting::MODEL,
    &setting::EFFORT,
    &setting::SYSTEM_PROMPT_FILE,
    &setting::MCP_CONFIG,
    &setting::ALLOWED_TOOLS,
    &setting::AGENT_ARGS,
    &setting::PASS_ENV,
    &setting::STDIO,
    &setting::APPROVE,
    &setting::APPROVAL_TIMEOUT,
    &setting::APPROVAL_OTHERWISE,
    &setting::REPO,
    &setting::BRANCH,
    &setting::GIT_TOKEN_FILE,
    &setting::GIT_TOKEN_ENV,
    &setting::GIT_TOKEN_COMMAND,
    &setting::GIT_TOKEN_HOST,
    &setting::GIT_ALLOW_HOSTS,
    &setting::GIT_DEPTH,
    &setting::GIT_MAX_SIZE,
    &setting::GIT_SUBMODULES,
    &setting::GIT_LFS,
    &setting::GIT_PUSH,
    &setting::GIT_PUSH_BRANCH,
    &setting::GIT_AUTHOR,
    &setting::SETUP,
    &setting::SETUP_TIMEOUT,
    &setting::SETUP_ON_FAILURE,
    &setting::EXPECT,
    &setting::SKILLS,
    &setting::TIMEOUT,
    &setting::IDLE_TIMEOUT,
    &setting::AGENT_HOME,
    &setting::AGENT_USER,
    &setting::SKIP_INSTALL,
    &setting::WORKSPACE_DIR,
    &setting::SANDBOX,
    &setting::SANDBOX_IMAGE,
    &setting::SANDBOX_NETWORK,
    &setting::SANDBOX_MEMORY,
    &setting::SANDBOX_CPUS,
    &setting::SANDBOX_PIDS,
    &setting::LANDLOCK,
];

/// Those whose value is a path, which means the same from any folder once it is absolute.
const PATHS: &[&Setting] = &[
    &setting::CONFIG,
    &setting::SYSTEM_PROMPT_FILE,
    &setting::MCP_CONFIG,
    &setting::GIT_TOKEN_FILE,
    &setting::SETUP,
    &setting::SKILLS,
    &setting::WORKSPACE_DIR,
];

impl SessionSettings {
    /// What was typed and what `env` says, without the config file; paths are absolute.
    pub fn of(given: &Given<'_>, env: &EnvMap, place: &Place) -> Self {
        let mut layers = layers(given, env, place);
        layers.file.values.clear();
        let file = default_file(&layers).filter(|path| path.exists());
        let values = OWN.iter().filter_map(|setting| {
            let mut raw = layers.raw(setting)?;
            if PATHS.iter().any(|path| path.key == setting.key) {
                let paths = raw.values.iter().map(|text| {
                    let path = layers.anchored(&raw, text)?;
                    path.into_os_string().into_string().ok()
                });
                raw.values = paths.collect::<Option<_>>()?;
            } else if setting.key == setting::EXPECT.key {
                raw.values = ExpectedReport::all_anchored(&mut layers, &raw);
            }
            Some((setting.key.to_owned(), raw.values))
        });
        let mut values: BTreeMap<_, _> = values.collect();
        // The asker's own file, wherever the one who reads it again has theirs.
        if let Some(path) = file.and_then(|path| path.into_os_string().into_string().ok()) {
            let key = setting::CONFIG.key.to_owned();
            values.entry(key).or_insert_with(|| vec![path]);
        }
        Self(values)
    }

    /// These settings over the config file over the defaults, checked. Of `env` only the vendors'
    /// and the system's variables count: ours are settings of the daemon, not of its sessions.
    pub fn resolve(&self, env: &EnvMap, place: &Place) -> Result<Config, ConfigError> {
        let env: EnvMap = env
            .variables()
            .filter(|(name, _)| !is_ours(OsStr::new(name)))
            .collect();
        let mut layers = layers_of(self.typed(), &env, place);
        self.refuse_others(&mut layers);
        settle(layers, place, false, false)
    }

    /// The same, for the agent's live form.
    #[must_use]
    pub fn in_live_form(mut self) -> Self {
        let live = vec!["live".to_owned()];
        self.0.insert(setting::MODE.key.to_owned(), live);
        self
    }

    /// The settings by their keys.
    pub fn into_values(self) -> BTreeMap<String, Vec<String>> {
        self.0
    }

    fn typed(&self) -> Typed {
        let known = OWN.iter().filter_map(|setting| {
            let values = self.0.get(setting.key)?;
            Some((setting.key, values.clone()))
        });
        known.collect()
    }

    fn refuse_others(&self, layers: &mut Layers<'_>) {
        for (key, values) in &self.0 {
            let origin = || Origin::Flag(key.clone());
            let Some(setting) = OWN.iter().find(|setting| setting.key == key) else {
                let known = || OWN.iter().map(|setting| setting.key);
                let hint = nearest(key, known()).map(|word| format!("; did you mean `{word}`?"));
                let message = format!("is no setting of a session{}", hint.unwrap_or_default());
                layers.fault(origin(), message);
                continue;
            };
            let is_list = matches!(setting.shape, Shape::List | Shape::Lines);
            if values.is_empty() || (values.len() > 1 && !is_list) {
                layers.fault(origin(), "takes exactly one value");
            }
        }
    }
}

impl FromIterator<(String, Vec<String>)> for SessionSettings {
    fn from_iter<I: IntoIterator<Item = (String, Vec<String>)>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{CommandKind, Options};

    fn place(cwd: &Path) -> Place {
        Place {
            command: CommandKind::Start,
            cwd: cwd.to_owned(),
            container: false,
            agents: vec!["claude", "codex"],
        }
    }

    #[test]
    fn what_was_asked_means_the_same_from_another_folder_and_environment() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("prompt.md"), "Be brief.").unwrap();
        let options = Options {
            agent: Some("codex".to_owned()),
            system_prompt_file: Some("prompt.md".to_owned()),
            ..Options::default()
        };
        let given = Given {
            options: &options,
            hub: None,
            task: Some("x"),
        };
        let env: EnvMap = [
            ("HOME", "/nowhere"),
            ("AGENT_RUNNER_MODEL", "m-1"),
            ("AGENT_RUNNER_ALLOWED_TOOLS", "a,b"),
            ("AGENT_RUNNER_HUB_KEY", "secret"),
        ]
        .into_iter()
        .collect();
        let asked = SessionSettings::of(&given, &env, &place(dir.path()));
        let stored = serde_json::to_string(&asked).unwrap();
        assert!(!stored.contains("secret"), "{stored}");
        let asked: SessionSettings = serde_json::from_str(&stored).unwrap();
        let other: EnvMap = [("HOME", "/nowhere"), ("AGENT_RUNNER_MODEL", "other")]
            .into_iter()
            .collect();
        let config = asked.resolve(&other, &place(Path::new("/"))).unwrap();
        assert_eq!(config.agent.name.as_str(), "codex");
        assert_eq!(config.agent.model.as_deref(), Some("m-1"));
        assert_eq!(config.agent.allowed_tools, ["a", "b"]);
        let file = dir.path().join("prompt.md");
        assert_eq!(config.agent.system_prompt_file, Some(file));
    }

    #[test]
    fn what_a_session_cannot_have_of_its_own_is_named() {
        let asked: SessionSettings = [
            ("modle".to_owned(), vec!["x".to_owned()]),
            ("state_dir".to_owned(), vec!["/x".to_owned()]),
            (
                "agent".to_owned(),
                vec!["claude".to_owned(), "codex".to_owned()],
            ),
        ]
        .into_iter()
        .collect();
        let env: EnvMap = [("HOME", "/nowhere")].into_iter().collect();
        let error = asked.resolve(&env, &place(Path::new("/"))).unwrap_err();
        let text = error.to_string();
        for part in ["did you mean `model`", "state_dir", "exactly one value"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}
