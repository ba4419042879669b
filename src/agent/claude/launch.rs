//! How Claude Code 2.1.197 is started: for one turn in exec form, for a conversation in live form.

use std::ffi::OsString;

use serde_json::{Map, Value, json};

use crate::agent::args::{Args, Flags};
use crate::agent::live::{LivePlan, LiveSpec};
use crate::agent::{
    AgentSession, ConversationFile, Homes, LaunchError, LaunchPlan, Subagent, TurnSpec,
};

const FLAGS: Flags = Flags {
    owned: &[
        (
            &[
                "-p",
                "--print",
                "--output-format",
                "--input-format",
                "--verbose",
                "--include-partial-messages",
                "--replay-user-messages",
            ],
            "it cannot be changed",
        ),
        (
            &[
                "--session-id",
                "-r",
                "--resume",
                "-c",
                "--continue",
                "--fork-session",
                "--from-pr",
                "--no-session-persistence",
                "--bg",
                "--background",
            ],
            "conversations follow the session's turns",
        ),
        (
            &[
                "--dangerously-skip-permissions",
                "--permission-mode",
                "--permission-prompt-tool",
            ],
            "use `--approve`",
        ),
        (&["--model"], "use `--model`"),
        (&["--effort"], "use `--effort`"),
        (
            &["--append-system-prompt", "--append-system-prompt-file"],
            "use `--system-prompt-file`",
        ),
        (&["--mcp-config"], "use `--mcp-config`"),
        (
            &["--allowedTools", "--allowed-tools"],
            "use `--allowed-tools`",
        ),
        (
            &["-h", "--help", "-v", "--version"],
            "it ends the CLI at once: call it directly",
        ),
    ],
    valued: &[
        "--add-dir",
        "--agent",
        "--agents",
        "--betas",
        "--debug-file",
        "--disallowedTools",
        "--disallowed-tools",
        "--fallback-model",
        "--file",
        "--json-schema",
        "--max-budget-usd",
        "--max-thinking-tokens",
        "--max-turns",
        "-n",
        "--name",
        "--plugin-dir",
        "--plugin-url",
        "--setting-sources",
        "--settings",
        "--system-prompt",
        "--system-prompt-file",
        "--thinking",
        "--thinking-display",
        "--tools",
    ],
};

/// Tools for talking with a person, which come with the prompt for consent.
const NOBODY_TO_ASK: &str = "--disallowedTools=AskUserQuestion,EnterPlanMode,ExitPlanMode";

const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];
const EFFORT_NAMES: &str = "low, medium, high, xhigh, max";

/// Login, endpoint, model and limits. Markers of an outer Claude Code (`CLAUDECODE`,
/// `CLAUDE_CODE_ENTRYPOINT`) are not among them: the CLI would take itself for a nested one. Nor
/// are `CLAUDE_CONFIG_DIR`, which would override the home, and a cloud account's general keys.
const ENV_PASS: &[&str] = &[
    "ANTHROPIC_*",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_*",
    "CLAUDE_CODE_SKIP_*",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_EFFORT_LEVEL",
    "CLAUDE_CODE_MAX_*",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
    "CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS",
    "CLAUDE_CODE_ENABLE_TASKS",
    "MAX_THINKING_TOKENS",
    "API_TIMEOUT_MS",
    "BASH_DEFAULT_TIMEOUT_MS",
    "BASH_MAX_TIMEOUT_MS",
    "BASH_MAX_OUTPUT_LENGTH",
    "MCP_TIMEOUT",
    "MCP_TOOL_TIMEOUT",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_REGION",
    "CLOUD_ML_REGION",
];

/// Quiet: no updates of itself, no telemetry, no error reports. These do not reach into what the
/// agent's tools do.
const QUIET: &[&str] = &[
    "DISABLE_AUTOUPDATER",
    "DISABLE_TELEMETRY",
    "DISABLE_ERROR_REPORTING",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
];

/// The plan for one turn.
pub(super) fn plan(spec: &TurnSpec) -> Result<LaunchPlan, LaunchError> {
    launch(spec, &["--dangerously-skip-permissions"])
}

/// The plan for a conversation: messages, answers and consents travel over stdin. With `asks` the
/// CLI is left in its default mode, where our hook sends each call to the prompt for consent.
pub(super) fn live_plan(spec: &TurnSpec, asks: bool) -> Result<LivePlan, LaunchError> {
    // also where nobody is asked: consent can be wanted later
    let mut form = vec![
        "--input-format=stream-json",
        "--replay-user-messages",
        "--permission-prompt-tool=stdio",
    ];
    if !asks {
        form.extend(["--dangerously-skip-permissions", NOBODY_TO_ASK]);
    }
    let launch = launch(spec, &form)?;
    Ok(LivePlan {
        launch,
        spec: LiveSpec {
            cwd: Some(spec.workspace.to_string_lossy().into_owned()),
            model: spec.model.clone(),
            effort: spec.effort.clone(),
            // a rule with a pattern is for the CLI alone to judge: such calls are asked for
            allowed_tools: spec.allowed_tools.clone(),
            asks,
            ..LiveSpec::default()
        },
    })
}

fn launch(spec: &TurnSpec, form: &[&str]) -> Result<LaunchPlan, LaunchError> {
    FLAGS.check(&spec.extra_args)?;
    let mut args = Args::default();
    for flag in ["-p", "--verbose", "--include-partial-messages"] {
        args.flag(flag);
    }
    for flag in form {
        args.flag(flag);
    }
    args.value("--output-format", "stream-json");
    match &spec.agent_session {
        AgentSession::New(id) => args.value("--session-id", id.to_string()),
        AgentSession::Resume(id) => args.value("--resume", id),
    }
    if let Some(model) = &spec.model {
        args.value("--model", model);
    }
    if let Some(effort) = &spec.effort {
        if !EFFORTS.contains(&effort.as_str()) {
            return Err(LaunchError::Effort {
                effort: effort.clone(),
                known: EFFORT_NAMES,
            });
        }
        args.value("--effort", effort);
    }
    if let Some(file) = &spec.system_prompt_file {
        args.value("--append-system-prompt-file", file);
    }
    // the `=` form, here as everywhere: these flags would swallow the arguments after them
    if let Some(file) = &spec.mcp_config {
        args.value("--mcp-config", file);
    }
    if !spec.subagents.is_empty() {
        args.value("--agents", agents(&spec.subagents));
    }
    if !spec.allowed_tools.is_empty() {
        args.value("--allowedTools", spec.allowed_tools.join(","));
    }
    args.0.extend(spec.extra_args.iter().cloned());
    Ok(LaunchPlan {
        command: "claude",
        args: args.0,
        env: environment(spec),
        files: Vec::new(),
        home_files: Vec::new(),
        home_links: Vec::new(),
        home_rename: None,
        home_locks: None,
        home_defaults: Vec::new(),
        env_pass: ENV_PASS,
        env_fallback: Vec::new(),
    })
}

/// Agents of the user's own go before those of others: the flag is taken once.
pub(super) fn takes_subagents(spec: &TurnSpec, _asks: bool) -> bool {
    let is_agents = |flag: &OsString| {
        let flag = flag.to_string_lossy();
        flag == "--agents" || flag.starts_with("--agents=")
    };
    !spec.extra_args.iter().any(is_agents)
}

/// Agents in the form of `--agents`. What they are to be without is said, since a list of what they
/// have would take the tools of MCP servers from them.
fn agents(subagents: &[Subagent]) -> String {
    const CHANGING: [(&str, &[&str]); 3] = [
        ("bash", &["Bash"]),
        ("edit", &["Edit", "NotebookEdit"]),
        ("write", &["Write"]),
    ];
    // By these it would do through others what it is not to do itself: an agent that it starts has
    // every tool, a skill may start one, a message has another go on, a timer the main one.
    const THROUGH_OTHERS: [&str; 9] = [
        "Agent",
        "Task",
        "Skill",
        "SendMessage",
        "Workflow",
        "CronCreate",
        "ScheduleWakeup",
        "EnterWorktree",
        "ExitWorktree",
    ];
    let mut all = Map::new();
    for agent in subagents {
        let mut told = json!({"description": agent.description, "prompt": agent.prompt});
        let without = CHANGING.iter().filter(|(tool, _)| agent.lacks(tool));
        let mut without: Vec<&str> = without
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        if !without.is_empty() {
            without.extend(THROUGH_OTHERS);
        }
        let vendor = |model: &&str| !model.contains('/') && model.starts_with("claude");
        let model = agent
            .model
            .as_deref()
            .map(|model| model.strip_prefix("anthropic/").unwrap_or(model));
        if let Some(told) = told.as_object_mut() {
            told.extend(model.filter(vendor).map(|m| ("model".to_owned(), m.into())));
            if !without.is_empty() {
                told.insert("disallowedTools".to_owned(), without.into());
            }
        }
        all.insert(agent.name.clone(), told);
    }
    Value::Object(all).to_string()
}

/// `projects/<the folder that it worked in>/<id>.jsonl`. How the CLI spells the folder's name is
/// its own affair, and no two conversations share an id.
pub(super) fn conversation(homes: &Homes<'_>, id: &str) -> ConversationFile {
    ConversationFile {
        folder: homes
            .folder("CLAUDE_CONFIG_DIR", ".claude")
            .join("projects"),
        depth: 1,
        name_end: format!("{id}.jsonl"),
    }
}

fn environment(spec: &TurnSpec) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = QUIET
        .iter()
        .map(|name| ((*name).into(), "1".into()))
        .collect();
    env.push(("HOME".into(), spec.home.clone().into()));
    if spec.is_root {
        // exactly "1": `true` is refused
        env.push(("IS_SANDBOX".into(), "1".into()));
    }
    env
}

#[cfg(test)]
mod tests {

    use uuid::Uuid;

    use super::*;

    fn with_args(args: &[&str]) -> Result<LaunchPlan, LaunchError> {
        plan(&TurnSpec {
            extra_args: args.iter().map(Into::into).collect(),
            ..TurnSpec::plain()
        })
    }

    #[test]
    fn a_turn_is_started_as_asked() {
        let plan = plan(&TurnSpec {
            agent_session: AgentSession::Resume(Uuid::from_u128(7).to_string()),
            model: Some("opus".to_owned()),
            effort: Some("low".to_owned()),
            system_prompt_file: Some("/run/system.md".into()),
            mcp_config: Some("/run/mcp.json".into()),
            allowed_tools: vec!["Bash(git *)".to_owned(), "Edit".to_owned()],
            extra_args: vec!["--max-turns".into(), "3".into()],
            is_root: true,
            ..TurnSpec::plain()
        })
        .unwrap();
        let args: Vec<_> = plan.args.iter().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(
            args,
            [
                "-p",
                "--verbose",
                "--include-partial-messages",
                "--dangerously-skip-permissions",
                "--output-format=stream-json",
                "--resume=00000000-0000-0000-0000-000000000007",
                "--model=opus",
                "--effort=low",
                "--append-system-prompt-file=/run/system.md",
                "--mcp-config=/run/mcp.json",
                "--allowedTools=Bash(git *),Edit",
                "--max-turns",
                "3",
            ]
        );
        assert!(plan.env.contains(&("IS_SANDBOX".into(), "1".into())));
        assert!(plan.env.contains(&("HOME".into(), "/home/agent".into())));
    }

    #[test]
    fn a_conversation_is_started_with_its_consent_where_it_is_asked_for() {
        let spec = TurnSpec {
            allowed_tools: vec!["Read".to_owned()],
            ..TurnSpec::plain()
        };
        let has = |plan: &LivePlan, flag: &str| plan.launch.args.contains(&flag.into());
        let free = live_plan(&spec, false).unwrap();
        assert!(has(&free, "--input-format=stream-json"));
        assert!(has(&free, "--replay-user-messages"));
        assert!(has(&free, "--dangerously-skip-permissions"));
        let held = live_plan(&spec, true).unwrap();
        assert!(has(&held, "--permission-prompt-tool=stdio"));
        assert!(!has(&held, "--dangerously-skip-permissions"));
        assert_eq!(held.spec.allowed_tools, ["Read"]);
        assert!(held.spec.asks);
    }

    #[test]
    fn the_sandbox_marker_is_for_root_only() {
        let plan = plan(&TurnSpec::plain()).unwrap();
        assert!(!plan.env.iter().any(|(name, _)| name == "IS_SANDBOX"));
    }

    #[test]
    fn flags_that_the_runner_owns_are_refused_by_name() {
        for flag in [
            "--model=x",
            "-p",
            "-r00",
            "--output-format=text",
            "--allowed-tools",
        ] {
            let error = with_args(&[flag]).unwrap_err();
            assert!(
                matches!(error, LaunchError::OwnedFlag { .. }),
                "{flag}: {error}"
            );
        }
        let error = with_args(&["--model=x"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`--agent-arg --model`: the runner sets this flag itself; use `--model`"
        );
    }

    #[test]
    fn nothing_can_be_slipped_in_as_the_prompt() {
        for args in [["--", "x"], ["do this", ""], ["--debug", "x"]] {
            let error = with_args(&args).unwrap_err();
            assert!(
                matches!(error, LaunchError::Positional { .. }),
                "{args:?}: {error}"
            );
        }
        assert!(with_args(&["--settings", "{}", "--bare"]).is_ok());
    }

    #[test]
    fn an_unknown_effort_is_told_the_known_ones() {
        let asked = TurnSpec {
            effort: Some("huge".to_owned()),
            ..TurnSpec::plain()
        };
        assert!(
            plan(&asked)
                .unwrap_err()
                .to_string()
                .contains("low, medium")
        );
    }
}
