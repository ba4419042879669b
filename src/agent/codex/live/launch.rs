//! How Codex 0.169.0 is started in live form: `codex app-server`.
//!
//! What belongs to the conversation is said by the protocol (model, instructions, MCP servers);
//! the effort and what the user adds to the configuration are the process's.

use std::ffi::OsString;

use crate::agent::args::Args;
use crate::agent::codex::{launch, mcp};
use crate::agent::live::{LivePlan, LiveSpec};
use crate::agent::{EnvFallback, LaunchError, LaunchPlan, TurnSpec};

/// The flags of `codex exec` that the server takes as well.
const TAKEN: &[&str] = &["-c", "--config", "--enable", "--disable", "--strict-config"];

/// OpenAI by a key of the environment, as `codex exec` asks it: the server looks for a key in its
/// file of logins only, and asks without one.
const PROVIDER: &str = "model_providers.agent-runner={name=\"OpenAI\",\
    base_url=\"https://api.openai.com/v1\",env_key=\"CODEX_API_KEY\",wire_api=\"responses\"}";
const PROVIDER_NAME: &str = "agent-runner";

/// The plan for a conversation.
pub(super) fn plan(spec: &TurnSpec, asks: bool) -> Result<LivePlan, LaunchError> {
    check_extra(&spec.extra_args)?;
    let mut env = vec![("HOME".into(), spec.home.clone().into())];
    let mcp_servers = match &spec.mcp_servers {
        Some(json) => Some(mcp::servers(json, &mut env)?),
        None => None,
    };
    let mut args = Args::default();
    args.flag("app-server");
    args.value("--config", "tools.update_plan.enabled=true");
    args.0.extend(spec.extra_args.iter().cloned());
    for setting in launch::QUIET {
        args.value("--config", setting);
    }
    if let Some(setting) = launch::effort(spec)? {
        args.value("--config", setting);
    }
    let provider = needs_provider(spec).then(|| {
        args.value("--config", PROVIDER);
        PROVIDER_NAME.to_owned()
    });
    if asks {
        // off by default: the agent's questions to its user
        args.value("--config", "features.default_mode_request_user_input=true");
        // that it is on is our doing, and nothing to warn the user of
        args.value("--config", "suppress_unstable_features_warning=true");
    }
    let resume = launch::resumed(spec)?;
    let instructions = spec.system_prompt.clone();
    Ok(LivePlan {
        launch: LaunchPlan {
            command: "codex",
            args: args.0,
            env,
            files: Vec::new(),
            home_files: Vec::new(),
            home_links: Vec::new(),
            home_rename: None,
            home_locks: None,
            home_defaults: Vec::new(),
            env_pass: launch::ENV_PASS,
            env_fallback: vec![EnvFallback {
                name: "CODEX_API_KEY",
                from: "OPENAI_API_KEY",
                unless: spec.home.join(launch::FOLDER).join("auth.json"),
            }],
        },
        spec: LiveSpec {
            cwd: Some(spec.workspace.to_string_lossy().into_owned()),
            model: spec.model.clone(),
            effort: spec.effort.clone(),
            provider,
            resume,
            system_prompt: instructions.filter(|text| !text.trim().is_empty()),
            // a table of texts, lists and tables: it can be said in JSON
            mcp_servers: mcp_servers
                .filter(|servers| !servers.is_empty())
                .and_then(|servers| serde_json::to_value(servers).ok()),
            asks,
            ..LiveSpec::default()
        },
    })
}

/// Whether a key of the environment is what the user has to log in with. `CODEX_API_KEY` is there
/// where it was given, or where there is no file of logins and `OPENAI_API_KEY` was.
fn needs_provider(spec: &TurnSpec) -> bool {
    let has_key = spec.variables.iter().any(|name| name == "CODEX_API_KEY");
    let settings: toml::Table = spec
        .settings
        .as_deref()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let theirs = ["model_provider", "openai_base_url", "profile"];
    let mut arguments = spec.extra_args.iter().map(|flag| flag.to_string_lossy());
    has_key
        && !theirs.iter().any(|key| settings.contains_key(*key))
        && !arguments.any(|flag| theirs.iter().any(|key| flag.contains(key)))
}

/// Flags of `codex exec` alone are refused as such, the others as in exec form.
fn check_extra(extra: &[OsString]) -> Result<(), LaunchError> {
    launch::FLAGS.check(extra)?;
    launch::check_extra(extra, false)?;
    let mut is_value = false;
    for argument in extra {
        if std::mem::take(&mut is_value) {
            continue;
        }
        let text = argument.to_string_lossy();
        let flag = text.split('=').next().unwrap_or_default();
        let short = flag.get(..2).filter(|_| !flag.starts_with("--"));
        if !TAKEN.contains(&short.unwrap_or(flag)) {
            return Err(LaunchError::ExecOnly {
                flag: flag.to_owned(),
            });
        }
        is_value = launch::FLAGS.valued.contains(&text.as_ref());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::agent::AgentSession;

    #[test]
    fn the_process_gets_the_configuration_and_the_talk_the_conversation() {
        let id = Uuid::from_u128(7).to_string();
        let plan = plan(
            &TurnSpec {
                agent_session: AgentSession::Resume(id.clone()),
                model: Some("gpt-5.5".to_owned()),
                effort: Some("low".to_owned()),
                system_prompt: Some("Be brief.".to_owned()),
                mcp_servers: Some(r#"{"mcpServers":{"x":{"command":"x"}}}"#.to_owned()),
                extra_args: vec!["-c".into(), "model_provider=x".into()],
                ..TurnSpec::plain()
            },
            true,
        )
        .unwrap();
        let args: Vec<_> = plan
            .launch
            .args
            .iter()
            .map(|a| a.to_str().unwrap())
            .collect();
        assert_eq!(
            args,
            [
                "app-server",
                "--config=tools.update_plan.enabled=true",
                "-c",
                "model_provider=x",
                "--config=check_for_update_on_startup=false",
                "--config=analytics.enabled=false",
                "--config=model_reasoning_effort=low",
                "--config=features.default_mode_request_user_input=true",
                "--config=suppress_unstable_features_warning=true",
            ]
        );
        assert!(plan.launch.home_files.is_empty());
        let spec = plan.spec;
        assert_eq!(spec.resume, Some(id));
        assert_eq!(spec.model.as_deref(), Some("gpt-5.5"));
        assert_eq!(spec.system_prompt.as_deref(), Some("Be brief."));
        assert_eq!(spec.mcp_servers, Some(json!({"x": {"command": "x"}})));
        assert!(spec.asks);
    }

    #[test]
    fn a_key_of_the_environment_is_used_unless_the_user_has_a_provider() {
        let with = |key: bool, settings: Option<&str>| {
            let spec = TurnSpec {
                variables: key
                    .then(|| "CODEX_API_KEY".to_owned())
                    .into_iter()
                    .collect(),
                settings: settings.map(str::to_owned),
                ..TurnSpec::plain()
            };
            plan(&spec, false).unwrap().spec.provider
        };
        assert_eq!(with(true, None).as_deref(), Some("agent-runner"));
        assert_eq!(
            with(true, Some("model = \"x\"")).as_deref(),
            Some("agent-runner")
        );
        assert_eq!(with(true, Some("model_provider = \"x\"")), None);
        assert_eq!(with(false, None), None);
    }

    #[test]
    fn an_argument_of_the_exec_form_alone_is_told_so() {
        let with = |args: &[&str]| {
            let spec = TurnSpec {
                extra_args: args.iter().map(Into::into).collect(),
                ..TurnSpec::plain()
            };
            plan(&spec, false).map_err(|error| error.to_string())
        };
        let error = with(&["--image=a.png"]).unwrap_err();
        assert!(error.contains("`--agent-arg --image`") && error.contains("--mode exec"));
        assert!(with(&["--yolo"]).unwrap_err().contains("--approve"));
        assert!(with(&["-cmodel_provider=x", "--enable", "goals"]).is_ok());
    }
}
