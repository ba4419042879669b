//! How one turn of OpenCode 1.18.33 is started in exec form; `live/launch.rs` has the live form.

use std::ffi::OsString;

use super::{config, lock};
use crate::agent::args::{Args, Flags};
use crate::agent::{AgentSession, LaunchError, LaunchPlan, TurnSpec};

/// The name of the file that holds what the turn adds to OpenCode's configuration.
pub(super) const CONFIG: &str = "opencode.json";

/// What is known of OpenCode's flags. yargs, which reads them, knows more forms of each: see
/// [`meant`].
const FLAGS: Flags = Flags {
    owned: &[
        (
            &["--format", "--print-logs", "--log-level", "--thinking"],
            "it cannot be changed",
        ),
        (
            &[
                "-i",
                "--interactive",
                "--mini",
                "--demo",
                "--replay",
                "--replay-limit",
                "--prompt",
            ],
            "the prompt goes to stdin",
        ),
        (
            &["-s", "--session", "-c", "--continue", "--fork", "--title"],
            "conversations follow the session's turns",
        ),
        (
            &["--auto", "--yolo", "--dangerously-skip-permissions"],
            "use `--approve`",
        ),
        (&["-m", "--model"], "use `--model`"),
        (&["--variant"], "use `--effort`"),
        (&["--dir"], "the workspace is the folder that it works in"),
        (
            &[
                "--attach",
                "-p",
                "--password",
                "-u",
                "--username",
                "--port",
                "--hostname",
            ],
            "each turn is a process of its own",
        ),
        (
            &["--share"],
            "sharing is off; share a session with `opencode` itself",
        ),
        (
            &["-h", "--help", "-v", "--version"],
            "it ends the CLI at once: call it directly",
        ),
    ],
    valued: &["--command", "--agent", "-f", "--file"],
};

/// Login, providers and models. Not among them: what moves OpenCode's own folders or database,
/// which would override the home; what an outer OpenCode leaves (`OPENCODE_PID`, `OPENCODE_ROUTE`);
/// its server's password; a cloud account's general keys.
pub(super) const ENV_PASS: &[&str] = &[
    "OPENCODE_API_KEY",
    "OPENCODE_AUTH_CONTENT",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_CONFIG_DIR",
    "OPENCODE_PERMISSION",
    "OPENCODE_MODELS_URL",
    "OPENCODE_MODELS_PATH",
    "OPENCODE_PURE",
    "OPENCODE_ENABLE_*",
    "OPENCODE_DISABLE_*",
    "OPENCODE_EXPERIMENTAL*",
    "OPENCODE_WEBSEARCH_PROVIDER",
    "ANTHROPIC_*",
    "OPENAI_*",
    "AZURE_API_KEY",
    "AZURE_RESOURCE_NAME",
    "AZURE_COGNITIVE_SERVICES_RESOURCE_NAME",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_REGION",
    "CEREBRAS_API_KEY",
    "DEEPSEEK_API_KEY",
    "EXA_API_KEY",
    "FIREWORKS_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GROQ_API_KEY",
    "HF_TOKEN",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "OLLAMA_API_KEY",
    "OPENROUTER_API_KEY",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
    "ZAI_API_KEY",
    "ZHIPU_API_KEY",
];

/// Quiet: no updates of itself, nothing shared, no language servers fetched unasked. These do not
/// reach into what the agent's tools do.
const QUIET: &[&str] = &[
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
];

/// OpenCode's folders, each within the home; the names are their defaults, so that a home that the
/// user has worked in is found as it is.
const FOLDERS: &[(&str, &str)] = &[
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_STATE_HOME", ".local/state"),
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_CACHE_HOME", ".cache"),
];

/// The plan for one turn. Without a message among its arguments OpenCode takes all of stdin,
/// exactly as it is.
pub(super) fn plan(spec: &TurnSpec) -> Result<LaunchPlan, LaunchError> {
    check_extra(&spec.extra_args)?;
    let mut args = Args::default();
    args.flag("run");
    args.value("--format", "json");
    // a request that fails is tried again without a word on stdout: the log tells of it
    args.flag("--print-logs");
    args.value("--log-level", "ERROR");
    args.flag("--thinking");
    // else what needs a consent is refused, and OpenCode stops there with exit code 0
    args.flag("--auto");
    match &spec.agent_session {
        // it makes its own ids; an empty title is the prompt's start and spares a request for one
        AgentSession::New(_) => args.value("--title", ""),
        AgentSession::Resume(id) => args.value("--session", id),
    }
    if let Some(model) = &spec.model {
        args.value("--model", model);
    }
    if let Some(effort) = &spec.effort {
        args.value("--variant", effort);
    }
    args.0.extend(spec.extra_args.iter().cloned());
    let mut env = environment(spec);
    let mut files = Vec::new();
    if let Some(config) = config::config(spec)? {
        env.push(("OPENCODE_CONFIG".into(), spec.files.join(CONFIG).into()));
        files.push((CONFIG, config));
    }
    Ok(LaunchPlan {
        command: "opencode",
        args: args.0,
        env,
        files,
        home_files: Vec::new(),
        home_links: Vec::new(),
        home_rename: None,
        home_locks: Some(&lock::LOCKS),
        home_defaults: home_defaults(),
        env_pass: ENV_PASS,
        env_fallback: Vec::new(),
    })
}

/// OpenCode installs `@opencode-ai/plugin` from the npm registry into its folder of settings at
/// each start at which it is missing there, and loads no plugin before that is done or given up;
/// it looks no further than for a folder of packages and a lock file that names it (1.18.33). In
/// a home of ours nothing needs it, so that there is nothing to be installed.
pub(super) fn home_defaults() -> Vec<(&'static str, &'static [u8])> {
    const LOCK: &[u8] = br#"{"lockfileVersion":3,"requires":true,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}"#;
    const WHY: &[u8] = b"Empty, so that OpenCode installs nothing here. To have it install packages for\nplugins of yours, remove this folder and the package-lock.json beside it.\n";
    vec![
        (".config/opencode/node_modules/README", WHY),
        (".config/opencode/package-lock.json", LOCK),
    ]
}

pub(super) fn environment(spec: &TurnSpec) -> Vec<(OsString, OsString)> {
    let quiet = QUIET.iter().map(|name| ((*name).into(), "1".into()));
    let home = [("HOME".into(), spec.home.clone().into())];
    let folders = FOLDERS
        .iter()
        .map(|(name, folder)| ((*name).into(), spec.home.join(folder).into()));
    quiet.chain(home).chain(folders).collect()
}

pub(super) fn check_extra(extra: &[OsString]) -> Result<(), LaunchError> {
    FLAGS.check(extra)?;
    for argument in extra {
        let text = argument.to_string_lossy();
        let flag = text.split('=').next().unwrap_or_default();
        if flag.starts_with('-') {
            for meaning in meant(flag) {
                FLAGS.check(&[meaning])?;
            }
        }
    }
    Ok(())
}

/// The flags that yargs takes `flag` for: `--noAuto` is `--auto`, `--title.x` is `--title`, and
/// `-is` is both `-i` and `-s`.
fn meant(flag: &str) -> Vec<OsString> {
    let Some(long) = flag.strip_prefix("--") else {
        let letters = flag.trim_start_matches('-').chars();
        return letters.map(|letter| format!("-{letter}").into()).collect();
    };
    let mut kebab = String::from("--");
    for letter in long.split('.').next().unwrap_or_default().chars() {
        if letter.is_ascii_uppercase() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    let positive = kebab.strip_prefix("--no-").map(|name| format!("--{name}"));
    // yargs also takes `--s` for `-s`
    let short = (kebab.len() == 3).then(|| kebab.replacen("--", "-", 1));
    let all = [Some(kebab), positive, short].into_iter().flatten();
    all.map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn spec() -> TurnSpec {
        TurnSpec {
            files: PathBuf::from("/run/launch"),
            ..TurnSpec::plain()
        }
    }

    fn with_args(args: &[&str]) -> Result<LaunchPlan, LaunchError> {
        plan(&TurnSpec {
            extra_args: args.iter().map(Into::into).collect(),
            ..spec()
        })
    }

    #[test]
    fn a_turn_is_started_as_asked() {
        let plan = plan(&TurnSpec {
            agent_session: AgentSession::Resume("ses_1".to_owned()),
            model: Some("anthropic/opus".to_owned()),
            effort: Some("high".to_owned()),
            system_prompt_file: Some("/run/system.md".into()),
            extra_args: vec!["--agent".into(), "plan".into()],
            ..spec()
        })
        .unwrap();
        let args: Vec<_> = plan.args.iter().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(
            args,
            [
                "run",
                "--format=json",
                "--print-logs",
                "--log-level=ERROR",
                "--thinking",
                "--auto",
                "--session=ses_1",
                "--model=anthropic/opus",
                "--variant=high",
                "--agent",
                "plan",
            ]
        );
        let data = ("XDG_DATA_HOME".into(), "/home/agent/.local/share".into());
        assert!(plan.env.contains(&data));
        let config = ("OPENCODE_CONFIG".into(), "/run/launch/opencode.json".into());
        assert!(plan.env.contains(&config));
        let [(name, content)] = plan.files.as_slice() else {
            panic!("{:?}", plan.files)
        };
        assert_eq!(*name, "opencode.json");
        assert_eq!(content, br#"{"instructions":["/run/system.md"]}"#);
    }

    #[test]
    fn a_turn_that_adds_no_configuration_leaves_the_users_own_alone() {
        let plan = plan(&spec()).unwrap();
        assert!(plan.files.is_empty());
        assert!(!plan.env.iter().any(|(name, _)| name == "OPENCODE_CONFIG"));
        assert!(plan.args.contains(&"--title=".into()));
    }

    #[test]
    fn flags_that_the_runner_owns_are_refused_by_name() {
        for flag in [
            "--model=x",
            "-m",
            "-sses_1",
            "-fs",
            "--format=default",
            "--no-auto",
            "--noThinking",
            "--logLevel=DEBUG",
            "--title.x=1",
            "--s",
        ] {
            let error = with_args(&[flag]).unwrap_err();
            assert!(
                matches!(error, LaunchError::OwnedFlag { .. }),
                "{flag}: {error}"
            );
        }
        let error = with_args(&["--variant=x"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`--agent-arg --variant`: the runner sets this flag itself; use `--effort`"
        );
    }

    #[test]
    fn nothing_can_be_slipped_in_as_the_prompt() {
        for args in [["--", "x"], ["do this", ""], ["--pure", "x"]] {
            let error = with_args(&args).unwrap_err();
            assert!(
                matches!(error, LaunchError::Positional { .. }),
                "{args:?}: {error}"
            );
        }
        assert!(with_args(&["--file", "a.txt", "--pure"]).is_ok());
    }
}
