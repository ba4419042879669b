//! How OpenCode 1.18.33 is started in live form: `opencode acp`.

use crate::agent::args::Args;
use crate::agent::live::{LivePlan, LiveSpec};
use crate::agent::opencode::{config, launch, lock};
use crate::agent::{AgentSession, LaunchError, LaunchPlan, TurnSpec};

const PLUGIN: &[u8] = include_bytes!("plugin.mjs");

/// Before it loads a plugin OpenCode waits until packages for plugins are installed in the user's
/// folder of settings, which it does at each start and in the background where there is none; see
/// [`launch::home_defaults`] for homes of ours. Where no registry answers, npm would try for 75 s,
/// and OpenCode waits twice: before it answers at all, and at the conversation's begin (seen).
const AT_START: &[(&str, &str)] = &[
    ("npm_config_fetch_retries", "0"),
    ("npm_config_fetch_timeout", "10000"),
];

/// The flag of `opencode run` that this form takes as well.
const TAKEN: &str = "--pure";

/// The plan for a conversation. Model and effort are said by the protocol: a project's own
/// configuration would win over ours.
pub(super) fn plan(spec: &TurnSpec, asks: bool) -> Result<LivePlan, LaunchError> {
    launch::check_extra(&spec.extra_args)?;
    let mut extra = spec.extra_args.iter().map(|flag| flag.to_string_lossy());
    if let Some(flag) = extra.find(|flag| flag != TAKEN) {
        let flag = flag.split('=').next().unwrap_or_default().to_owned();
        return Err(LaunchError::ExecOnly { flag });
    }
    let mut args = Args::default();
    args.flag("acp");
    args.flag("--print-logs");
    args.value("--log-level", "ERROR");
    args.0.extend(spec.extra_args.iter().cloned());
    let mut env = launch::environment(spec);
    let is_free = |(name, _): &&(&str, &str)| {
        let mut set = spec.variables.iter();
        !set.any(|variable| variable.eq_ignore_ascii_case(name))
    };
    let at_start: Vec<_> = AT_START.iter().filter(is_free).collect();
    let unset: Vec<&str> = at_start.iter().map(|(name, _)| *name).collect();
    env.extend(
        at_start
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    );
    let config = spec.files.join(launch::CONFIG);
    env.push(("OPENCODE_CONFIG".into(), config.into()));
    if asks {
        let rules = config::asking(&spec.allowed_tools);
        env.push(("OPENCODE_PERMISSION".into(), rules.into()));
        // what the project's own configuration allows an agent wins over those rules
        env.push(("OPENCODE_DISABLE_PROJECT_CONFIG".into(), "1".into()));
    }
    let resume = match &spec.agent_session {
        AgentSession::New(_) => None,
        AgentSession::Resume(id) => Some(id.clone()),
    };
    Ok(LivePlan {
        launch: LaunchPlan {
            command: "opencode",
            args: args.0,
            env,
            files: vec![
                (launch::CONFIG, config::live(spec, asks, &unset)?),
                (config::PLUGIN, PLUGIN.to_vec()),
            ],
            home_files: Vec::new(),
            home_links: Vec::new(),
            home_rename: None,
            home_locks: Some(&lock::LOCKS),
            home_defaults: launch::home_defaults(),
            env_pass: launch::ENV_PASS,
            env_fallback: Vec::new(),
        },
        spec: LiveSpec {
            cwd: Some(spec.workspace.to_string_lossy().into_owned()),
            model: spec.model.clone(),
            effort: spec.effort.clone(),
            resume,
            asks,
            ..LiveSpec::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;

    fn spec() -> TurnSpec {
        TurnSpec {
            agent_session: AgentSession::Resume("ses_1".to_owned()),
            model: Some("anthropic/opus".to_owned()),
            effort: Some("high".to_owned()),
            workspace: PathBuf::from("/repo"),
            files: PathBuf::from("/run/launch"),
            ..TurnSpec::plain()
        }
    }

    fn config(plan: &LivePlan) -> Value {
        let (name, content) = plan.launch.files.first().unwrap();
        assert_eq!(*name, "opencode.json");
        serde_json::from_slice(content).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_said_by_the_protocol_and_calls_go_on() {
        let plan = plan(&spec(), false).unwrap();
        let args: Vec<_> = plan
            .launch
            .args
            .iter()
            .map(|a| a.to_str().unwrap())
            .collect();
        assert_eq!(args, ["acp", "--print-logs", "--log-level=ERROR"]);
        assert_eq!(plan.spec.resume.as_deref(), Some("ses_1"));
        assert_eq!(plan.spec.model.as_deref(), Some("anthropic/opus"));
        assert_eq!(plan.spec.effort.as_deref(), Some("high"));
        assert_eq!(
            config(&plan),
            json!({
                "experimental": {"continue_loop_on_deny": true},
                "permission": {"*": "allow"},
                "plugin": [["./agent-runner.mjs", {
                    "unset": ["npm_config_fetch_retries", "npm_config_fetch_timeout"],
                }]],
            })
        );
        let (name, _) = plan.launch.files.get(1).unwrap();
        assert_eq!(*name, "agent-runner.mjs");
    }

    #[test]
    fn what_a_user_has_set_for_npm_stays() {
        let spec = TurnSpec {
            variables: vec!["NPM_CONFIG_FETCH_RETRIES".to_owned()],
            ..spec()
        };
        let plan = plan(&spec, false).unwrap();
        let mut env = plan
            .launch
            .env
            .iter()
            .map(|(name, _)| name.to_str().unwrap());
        assert!(!env.any(|name| name == "npm_config_fetch_retries"));
        let unset = &config(&plan)["plugin"][0][1]["unset"];
        assert_eq!(*unset, json!(["npm_config_fetch_timeout"]));
    }

    #[test]
    fn where_calls_wait_no_file_of_the_project_can_let_them_pass() {
        let plan = plan(&spec(), true).unwrap();
        let env = |name: &str| {
            let mut env = plan.launch.env.iter();
            env.find(|(found, _)| found == name)
                .map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        assert!(env("OPENCODE_PERMISSION").unwrap().contains(r#""*":"ask""#));
        assert!(env("OPENCODE_DISABLE_PROJECT_CONFIG").is_some());
        assert_eq!(config(&plan)["instructions"], json!(["/repo/AGENTS.md"]));
        assert!(plan.spec.asks);
    }

    #[test]
    fn an_argument_of_the_exec_form_alone_is_told_so() {
        let with = |flag: &str| {
            let spec = TurnSpec {
                extra_args: vec![flag.into()],
                ..spec()
            };
            plan(&spec, false).map_err(|error| error.to_string())
        };
        assert!(with("--agent=plan").unwrap_err().contains("--mode exec"));
        assert!(with("--auto").unwrap_err().contains("--approve"));
        assert!(with("--pure").is_ok());
    }
}
