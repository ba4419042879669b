//! How Codex 0.169.0 is started in exec form, for one turn; `live/launch.rs` has the live form.
//!
//! All flags stand before `resume`, where the two forms take the same ones: behind it the CLI
//! knows fewer. Codex takes no file that is added to its system prompt and no file of MCP servers;
//! both go into a profile, a file of its own form in its home that is named after its content.

use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};
use uuid::Uuid;

use super::mcp;
use crate::agent::args::{Args, Flags};
use crate::agent::{
    AgentSession, ConversationFile, EnvFallback, Homes, LaunchError, LaunchPlan, TurnSpec,
};

/// The CLI's folder in its home.
pub(super) const FOLDER: &str = ".codex";

pub(super) const FLAGS: Flags = Flags {
    owned: &[
        (&["--json", "--skip-git-repo-check"], "it cannot be changed"),
        (
            &["--ephemeral", "--last", "--all"],
            "conversations follow the session's turns",
        ),
        (
            &["-C", "--cd", "--worktree"],
            "the agent works in the session's workspace",
        ),
        (
            &[
                "-s",
                "--sandbox",
                "-a",
                "--ask-for-approval",
                "--approve-for-me",
                "--full-auto",
                "--yolo",
                "--dangerously-bypass-approvals-and-sandbox",
            ],
            "use `--approve`",
        ),
        (&["-m", "--model"], "use `--model`"),
        (
            &["-h", "--help", "-V", "--version"],
            "it ends the CLI at once: call it directly",
        ),
    ],
    valued: &[
        "-c",
        "--config",
        "--enable",
        "--disable",
        "-i",
        "--image",
        "--local-provider",
        "-p",
        "--profile",
        "--add-dir",
        "--thread-source",
        "--cyber-access-program",
        "--output-schema",
        "--color",
        "-o",
        "--output-last-message",
    ],
};

/// Keys of the configuration that the runner sets, and what to use instead.
const OWNED_KEYS: &[(&str, &str)] = &[
    ("model", "use `--model`"),
    ("model_reasoning_effort", "use `--effort`"),
    ("sandbox_mode", "use `--approve`"),
    ("approval_policy", "use `--approve`"),
    ("developer_instructions", "use `--system-prompt-file`"),
    ("mcp_servers", "use `--mcp-config`"),
];

/// All that the CLI's catalog of models lists, and what models of other vendors take. The CLI
/// itself checks none of it.
const EFFORTS: &[&str] = &[
    "none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra",
];
const EFFORT_NAMES: &str = "none, minimal, low, medium, high, xhigh, max, ultra";

/// Login and endpoint. `CODEX_HOME` is not among them: it would override the home. Nor are markers
/// of an outer Codex (`CODEX_SANDBOX`, `CODEX_THREAD_ID`).
pub(super) const ENV_PASS: &[&str] = &[
    "OPENAI_API_KEY",
    "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT",
    "CODEX_API_KEY",
    "CODEX_ACCESS_TOKEN",
    "CODEX_CA_CERTIFICATE",
    "CODEX_OSS_PORT",
    "CODEX_OSS_BASE_URL",
    "AZURE_OPENAI_API_KEY",
];

/// Quiet: no look for updates, no telemetry. These do not reach into what the agent's tools do.
pub(super) const QUIET: &[&str] = &[
    "check_for_update_on_startup=false",
    "analytics.enabled=false",
];

/// How `spec`'s turn is started.
pub(super) fn plan(spec: &TurnSpec) -> Result<LaunchPlan, LaunchError> {
    FLAGS.check(&spec.extra_args)?;
    let mut env = vec![("HOME".into(), spec.home.clone().into())];
    let profile = profile(spec, &mut env)?;
    check_extra(&spec.extra_args, profile.is_some())?;
    let mut args = Args::default();
    args.flag("exec");
    // off by default in 0.169.0, which leaves no plan to show; before the user's own arguments, so
    // that they may turn it off again
    args.value("--config", "tools.update_plan.enabled=true");
    args.0.extend(spec.extra_args.iter().cloned());
    for flag in [
        "--json",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
    ] {
        args.flag(flag);
    }
    for setting in QUIET {
        args.value("--config", setting);
    }
    if let Some(model) = &spec.model {
        args.value("--model", model);
    }
    if let Some(setting) = effort(spec)? {
        args.value("--config", setting);
    }
    if let Some((name, _)) = &profile {
        args.value("--profile", name);
    }
    if let Some(id) = resumed(spec)? {
        args.flag("resume");
        args.flag(&id);
    }
    // the prompt is stdin
    args.flag("-");
    let home_files = profile.map(|(name, content)| {
        let place = Path::new(FOLDER).join(format!("{name}.config.toml"));
        (place, content.into_bytes())
    });
    Ok(LaunchPlan {
        command: "codex",
        args: args.0,
        env,
        files: Vec::new(),
        home_files: home_files.into_iter().collect(),
        home_links: Vec::new(),
        home_rename: None,
        home_locks: None,
        home_defaults: Vec::new(),
        env_pass: ENV_PASS,
        // `codex exec` sends requests without any key when only `OPENAI_API_KEY` is set
        env_fallback: vec![EnvFallback {
            name: "CODEX_API_KEY",
            from: "OPENAI_API_KEY",
            unless: spec.home.join(FOLDER).join("auth.json"),
        }],
    })
}

/// The setting for the effort that is asked for.
pub(super) fn effort(spec: &TurnSpec) -> Result<Option<String>, LaunchError> {
    let Some(effort) = &spec.effort else {
        return Ok(None);
    };
    if !EFFORTS.contains(&effort.as_str()) {
        return Err(LaunchError::Effort {
            effort: effort.clone(),
            known: EFFORT_NAMES,
        });
    }
    Ok(Some(format!("model_reasoning_effort={effort}")))
}

/// The thread to go on with. The CLI takes what is no id for a name, and begins a new thread where
/// it finds none.
pub(super) fn resumed(spec: &TurnSpec) -> Result<Option<String>, LaunchError> {
    let AgentSession::Resume(id) = &spec.agent_session else {
        return Ok(None);
    };
    let parsed = Uuid::try_parse(id).map_err(|_| LaunchError::AgentSession { id: id.clone() })?;
    Ok(Some(parsed.to_string()))
}

/// The profile's name and content, where there is something to put into it; its secrets go to
/// `env`.
fn profile(
    spec: &TurnSpec,
    env: &mut Vec<(OsString, OsString)>,
) -> Result<Option<(String, String)>, LaunchError> {
    let mut profile = Table::new();
    if let Some(text) = spec
        .system_prompt
        .as_ref()
        .filter(|text| !text.trim().is_empty())
    {
        profile.insert(
            "developer_instructions".to_owned(),
            Value::String(text.clone()),
        );
    }
    if let Some(json) = &spec.mcp_servers {
        let servers = mcp::servers(json, env)?;
        if !servers.is_empty() {
            profile.insert("mcp_servers".to_owned(), Value::Table(servers));
        }
    }
    if profile.is_empty() {
        return Ok(None);
    }
    let content = profile.to_string();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, content.as_bytes());
    Ok(Some((format!("agent-runner-{}", id.simple()), content)))
}

/// What the table of flags cannot say: keys of the configuration, and the one profile.
pub(super) fn check_extra(extra: &[OsString], has_profile: bool) -> Result<(), LaunchError> {
    let mut arguments = extra.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        let is = |short: &str, long: &str| {
            let rest = argument.strip_prefix(long);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
                || (argument.starts_with(short) && !argument.starts_with("--"))
        };
        if is("-p", "--profile") && has_profile {
            return Err(LaunchError::OwnedFlag {
                flag: argument.into_owned(),
                instead: "with `--system-prompt-file` or `--mcp-config`, put the profile's \
                          settings into `.codex/config.toml` in the agent's home",
            });
        }
        if !is("-c", "--config") {
            if FLAGS.valued.contains(&argument.as_ref()) {
                arguments.next();
            }
            continue;
        }
        let setting = match argument.split_once('=') {
            Some(("--config" | "-c", setting)) => setting.to_owned(),
            _ => match argument.strip_prefix("-c") {
                Some(setting) if !setting.is_empty() && argument != "--config" => {
                    setting.to_owned()
                }
                _ => arguments.next().unwrap_or_default().into_owned(),
            },
        };
        let key = setting.split('=').next().unwrap_or_default().trim();
        let top = key.split('.').next().unwrap_or_default().trim();
        if let Some((_, instead)) = OWNED_KEYS.iter().find(|(owned, _)| *owned == top) {
            return Err(LaunchError::OwnedFlag {
                flag: format!("-c {key}"),
                instead,
            });
        }
    }
    Ok(())
}

/// `sessions/<year>/<month>/<day>/rollout-<when>-<id>.jsonl`.
pub(super) fn conversation(homes: &Homes<'_>, id: &str) -> ConversationFile {
    ConversationFile {
        folder: homes.folder("CODEX_HOME", ".codex").join("sessions"),
        depth: 3,
        name_end: format!("-{id}.jsonl"),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn with_args(args: &[&str]) -> Result<LaunchPlan, LaunchError> {
        plan(&TurnSpec {
            extra_args: args.iter().map(Into::into).collect(),
            ..TurnSpec::plain()
        })
    }

    #[test]
    fn a_turn_is_started_as_asked() {
        let id = Uuid::from_u128(7).to_string();
        let plan = plan(&TurnSpec {
            agent_session: AgentSession::Resume(id.clone()),
            model: Some("gpt-5.5".to_owned()),
            effort: Some("low".to_owned()),
            system_prompt: Some("Speak \"Latin\".\n".to_owned()),
            mcp_servers: Some(r#"{"mcpServers":{"x":{"command":"x"}}}"#.to_owned()),
            extra_args: vec!["-i".into(), "a.png".into()],
            ..TurnSpec::plain()
        })
        .unwrap();
        let args: Vec<_> = plan.args.iter().map(|a| a.to_str().unwrap()).collect();
        let [(place, content)] = plan.home_files.as_slice() else {
            panic!("{:?}", plan.home_files)
        };
        let file = place.file_name().unwrap().to_str().unwrap();
        let profile = file.strip_suffix(".config.toml").unwrap();
        assert_eq!(place.parent(), Some(Path::new(".codex")));
        assert_eq!(
            args,
            [
                "exec",
                "--config=tools.update_plan.enabled=true",
                "-i",
                "a.png",
                "--json",
                "--skip-git-repo-check",
                "--dangerously-bypass-approvals-and-sandbox",
                "--config=check_for_update_on_startup=false",
                "--config=analytics.enabled=false",
                "--model=gpt-5.5",
                "--config=model_reasoning_effort=low",
                &format!("--profile={profile}"),
                "resume",
                &id,
                "-",
            ]
        );
        let content: Table = std::str::from_utf8(content).unwrap().parse().unwrap();
        assert_eq!(
            content["developer_instructions"].as_str(),
            Some("Speak \"Latin\".\n")
        );
        assert_eq!(content["mcp_servers"]["x"]["command"].as_str(), Some("x"));
        assert_eq!(plan.env, [("HOME".into(), "/home/agent".into())]);
    }

    #[test]
    fn a_conversation_that_is_no_id_is_refused_before_it_becomes_a_new_one() {
        let asked = TurnSpec {
            agent_session: AgentSession::Resume("latest".to_owned()),
            ..TurnSpec::plain()
        };
        assert!(matches!(
            plan(&asked),
            Err(LaunchError::AgentSession { .. })
        ));
    }

    #[test]
    fn what_the_runner_owns_cannot_be_set() {
        for args in [
            &["--json"][..],
            &["-mgpt"],
            &["-s", "read-only"],
            &["--yolo"],
            &["-c", "model=x"],
            &["-cmodel=x"],
            &["-c=model=x"],
            &["--config=mcp_servers.x.command=x"],
            &["--config", "sandbox_mode = 'read-only'"],
            &["--add-dir", "-c", "-c", "approval_policy=x"],
        ] {
            let error = with_args(args).unwrap_err();
            assert!(
                matches!(error, LaunchError::OwnedFlag { .. }),
                "{args:?}: {error}"
            );
        }
        let error = with_args(&["-c", "model=x"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`--agent-arg -c model`: the runner sets this flag itself; use `--model`"
        );
        for args in [
            &["-c", "model_provider=x"][..],
            &["--config=model_providers.x.name=x"],
            &["-p", "work"],
            &["--add-dir", "/x", "--search"],
        ] {
            assert!(with_args(args).is_ok(), "{args:?}");
        }
    }

    #[test]
    fn nothing_can_be_slipped_in_as_the_prompt_or_a_subcommand() {
        for args in [["--", "x"], ["resume", "x"], ["--oss", "x"]] {
            let error = with_args(&args).unwrap_err();
            assert!(
                matches!(error, LaunchError::Positional { .. }),
                "{args:?}: {error}"
            );
        }
    }

    #[test]
    fn there_is_one_profile_only() {
        let asked = TurnSpec {
            system_prompt: Some("x".to_owned()),
            extra_args: vec!["--profile=work".into()],
            ..TurnSpec::plain()
        };
        assert!(matches!(plan(&asked), Err(LaunchError::OwnedFlag { .. })));
    }

    #[test]
    fn an_unknown_effort_is_told_the_known_ones() {
        let asked = TurnSpec {
            effort: Some("huge".to_owned()),
            ..TurnSpec::plain()
        };
        let error = plan(&asked).unwrap_err().to_string();
        assert!(error.contains("low, medium"), "{error}");
    }
}
