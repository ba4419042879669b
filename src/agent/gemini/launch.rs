//! How Gemini CLI 0.61.0 is started in exec form, for one turn; `live/launch.rs` has the live form.
//!
//! MCP servers, effort, a longer system prompt and the end of its usage statistics can be had by
//! its settings file alone, and the file for that (`GEMINI_CLI_SYSTEM_SETTINGS_PATH`) counts only
//! where root owns it and every folder above it. So the CLI is given a home of its own
//! (`GEMINI_CLI_HOME`, which the agent's tools do not care about): a folder in the real one that is
//! named after its content, so that turns with other options never share it. In it are the user's
//! settings with ours over them, and links to all else that the real home holds: logins and
//! conversations stay where they are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::settings;
use crate::agent::args::{Args, Flags};
use crate::agent::{AgentSession, HomeLink, LaunchError, LaunchPlan, TurnSpec, hash};

const FLAGS: Flags = Flags {
    owned: &[
        (
            &[
                "-p",
                "--prompt",
                "-i",
                "--prompt-interactive",
                "-o",
                "--output-format",
                "--acp",
                "--experimental-acp",
                "-w",
                "--worktree",
            ],
            "it cannot be changed",
        ),
        (
            &[
                "--session-id",
                "--session-file",
                "-r",
                "--resume",
                "--list-sessions",
                "--delete-session",
            ],
            "conversations follow the session's turns",
        ),
        (
            &["-y", "--yolo", "--approval-mode", "--skip-trust"],
            "use `--approve`",
        ),
        (&["-m", "--model"], "use `--model`"),
        (
            &["--allowed-tools", "--allowedTools"],
            "use `--allowed-tools`",
        ),
        (
            &["-h", "--help", "-v", "--version", "-l", "--list-extensions"],
            "it ends the CLI at once: call it directly",
        ),
    ],
    valued: &[
        "--policy",
        "--admin-policy",
        "--allowed-mcp-server-names",
        "-e",
        "--extensions",
        "--include-directories",
    ],
};

/// Login, endpoint and model. Not `GEMINI_CLI_HOME` and its like, which would override the home.
const ENV_PASS: &[&str] = &[
    "GEMINI_API_KEY",
    "GEMINI_API_KEY_AUTH_MECHANISM",
    "GEMINI_MODEL",
    "GEMINI_SYSTEM_MD",
    "GEMINI_CLI_CUSTOM_HEADERS",
    "GEMINI_CLI_USE_COMPUTE_ADC",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_*",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_PROJECT_ID",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// What a home holds besides the settings; folders that the CLI writes to are made. Not
/// `projects.json`, which the CLI replaces and can do without: each project's folder under `tmp`
/// says whose it is.
const HELD: &[(&str, bool)] = &[
    (".agents", false),
    (".env", false),
    (".gemini/.env", false),
    (".gemini/GEMINI.md", false),
    (".gemini/a2a-oauth-tokens.json", false),
    (".gemini/acknowledgments", true),
    (".gemini/agents", false),
    (".gemini/commands", false),
    (".gemini/extension_integrity.json", false),
    (".gemini/extensions", true),
    (".gemini/gemini-credentials.json", false),
    (".gemini/google_accounts.json", false),
    (".gemini/history", true),
    (".gemini/installation_id", false),
    (".gemini/mcp-oauth-tokens-v2.json", false),
    (".gemini/mcp-oauth-tokens.json", false),
    (".gemini/mcp-server-enablement.json", false),
    (".gemini/memory.md", false),
    (".gemini/oauth_creds.json", false),
    (".gemini/policies", false),
    (".gemini/policy_integrity.json", false),
    (".gemini/skills", false),
    (".gemini/state.json", false),
    (".gemini/tmp", true),
    (".gemini/trustedFolders.json", false),
];

/// Where the homes of turns are, within the real one.
const HOMES: &str = ".cache/agent-runner";
const POLICY: &str = "allowed-tools.toml";

/// The plan for one turn.
pub(super) fn plan(spec: &TurnSpec) -> Result<LaunchPlan, LaunchError> {
    check_extra(&spec.extra_args)?;
    let mut args = Args(Vec::new());
    // no `--prompt`: what is on stdin is the prompt then
    args.value("--output-format", "stream-json");
    args.value("--approval-mode", "yolo");
    match &spec.agent_session {
        AgentSession::New(id) => args.value("--session-id", id.to_string()),
        AgentSession::Resume(id) => args.value("--resume", id),
    }
    with_home(spec, args, &policy(&spec.allowed_tools))
}

/// The arguments that both forms have behind their own, and the home that they point to.
pub(super) fn with_home(
    spec: &TurnSpec,
    mut args: Args,
    policy: &str,
) -> Result<LaunchPlan, LaunchError> {
    if let Some(model) = &spec.model {
        args.value("--model", model);
    }
    let (home, home_files) = home(spec, policy)?;
    if !policy.is_empty() {
        args.value("--policy", spec.home.join(&home).join(POLICY));
    }
    args.0.extend(spec.extra_args.iter().cloned());
    Ok(LaunchPlan {
        command: "gemini",
        args: args.0,
        env: environment(spec, &home),
        files: Vec::new(),
        home_links: links(spec, &home),
        home_rename: None,
        home_locks: None,
        home_defaults: Vec::new(),
        env_fallback: Vec::new(),
        home_files,
        env_pass: ENV_PASS,
    })
}

/// Files by their place in the real home.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// The home for a turn with these options, and its files.
fn home(spec: &TurnSpec, policy: &str) -> Result<(PathBuf, Files), LaunchError> {
    let mut files = vec![(".gemini/settings.json".to_owned(), settings::of(spec)?)];
    if let Some(prompt) = &spec.system_prompt {
        let name = format!(".gemini/{}", settings::SYSTEM_PROMPT);
        files.push((name, prompt.clone().into_bytes()));
    }
    if !policy.is_empty() {
        files.push((POLICY.to_owned(), policy.as_bytes().to_vec()));
    }
    let content = files.iter().fold(hash::EMPTY, |hash, (name, content)| {
        hash::more(hash::more(hash, name), &String::from_utf8_lossy(content))
    });
    let home = Path::new(HOMES).join(format!("gemini-{content:016x}"));
    let place = |(name, content)| (home.join(name), content);
    let files = files.into_iter().map(place).collect();
    Ok((home, files))
}

fn environment(spec: &TurnSpec, home: &Path) -> Vec<(OsString, OsString)> {
    vec![
        ("HOME".into(), spec.home.clone().into()),
        ("GEMINI_CLI_HOME".into(), spec.home.join(home).into()),
        // without it a parent process swallows signals, and leaves the CLI behind when it is killed
        ("GEMINI_CLI_NO_RELAUNCH".into(), "true".into()),
        // without it the CLI refuses to work in a folder that nobody has confirmed at a terminal
        ("GEMINI_CLI_TRUST_WORKSPACE".into(), "true".into()),
        ("GEMINI_TELEMETRY_ENABLED".into(), "false".into()),
    ]
}

fn links(spec: &TurnSpec, home: &Path) -> Vec<HomeLink> {
    let link = |(name, is_folder): &(&str, bool)| HomeLink {
        place: home.join(name),
        target: spec.home.join(name),
        is_folder: *is_folder,
    };
    HELD.iter().map(link).collect()
}

/// The tools that need no consent, as rules of the CLI's policy engine. `tool(prefix)` stands for
/// commands that begin so, as in `run_shell_command(git)`.
fn policy(tools: &[String]) -> String {
    let rule = |tool: &String| {
        let (name, prefix) = match tool.strip_suffix(')').and_then(|tool| tool.split_once('(')) {
            Some((name, prefix)) => (name, Some(prefix)),
            None => (tool.as_str(), None),
        };
        rule(name, prefix, "allow", 100)
    };
    tools.iter().map(rule).collect()
}

/// The rules by which every call waits for consent but those: they go before the CLI's own rules,
/// which let reads pass.
pub(super) fn asking(allowed: &[String]) -> String {
    rule("*", None, "ask_user", 99) + &policy(allowed)
}

fn rule(tool: &str, prefix: Option<&str>, decision: &str, priority: u32) -> String {
    // a JSON string is a TOML string too
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let prefix = prefix
        .map(|prefix| format!("commandPrefix = {}\n", quoted(prefix)))
        .unwrap_or_default();
    format!(
        "[[rule]]\ntoolName = {}\n{prefix}decision = \"{decision}\"\npriority = {priority}\n",
        quoted(tool)
    )
}

pub(super) fn check_extra(extra: &[OsString]) -> Result<(), LaunchError> {
    FLAGS.check_by(extra, owns)
}

/// The CLI's parser takes `--outputFormat` for `--output-format`, `--no-yolo` for its opposite,
/// and `-mX`, `-ym` for short flags with a value and in a bundle.
fn owns(flags: &[&str], given: &str) -> bool {
    if let Some(long) = given.strip_prefix("--") {
        let long = kebab(long.strip_prefix("no-").unwrap_or(long));
        return flags
            .iter()
            .any(|flag| flag.strip_prefix("--").map(kebab).as_ref() == Some(&long));
    }
    let bundle = given.trim_start_matches('-');
    flags.iter().any(|flag| match flag.as_bytes() {
        [b'-', short] if *short != b'-' => bundle.as_bytes().contains(short),
        _ => false,
    })
}

fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests;
