//! The launch plans against the real CLIs: every flag is one that the installed version knows, and
//! what a version says before it needs a model is understood.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test's helpers may panic and say why they skip

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use agent_runner::agent::{
    self, AgentKind, AgentSession, Evidence, LaunchError, LaunchPlan, OutputReader, TurnSpec,
};
use agent_runner::exit::Exit;
use agent_runner::redact::Redactor;
use uuid::Uuid;

/// How each CLI prints the help on the flags that its plan uses.
const HELP: &[(&str, &[&str])] = &[
    ("claude", &["--help"]),
    ("codex", &["exec", "--help"]),
    ("opencode", &["run", "--help"]),
    ("gemini", &["--help"]),
    ("pi", &["--help"]),
];

/// Flags that work, but stand in no help: Claude Code 2.1.197.
const HIDDEN: &[&str] = &["--append-system-prompt-file"];

/// A conversation that no CLI has.
const NOBODYS: Uuid = Uuid::from_u128(0x01a1_fb6b_8545_7141_aeb6_bb67_a2c4_4127);

/// The pinned CLI; none where it is not installed, which CI does not accept.
fn program(command: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/node_modules");
    let places = [
        tools.join(".bin").join(command),
        // Installed as its native package alone, which has no link there.
        tools.join("opencode-linux-x64/bin").join(command),
    ];
    if let Some(path) = places.into_iter().find(|path| path.exists()) {
        return Some(path);
    }
    let needs = format!("needs {command}, get it with scripts/test");
    assert!(std::env::var_os("CI").is_none(), "{needs}");
    println!("skipped: {needs}");
    None
}

/// A turn that asks for everything that can be asked for.
fn everything(home: &Path, agent_session: AgentSession) -> TurnSpec {
    TurnSpec {
        settings: None,
        variables: Vec::new(),
        agent_session,
        model: Some("a-model".to_owned()),
        effort: Some("low".to_owned()),
        system_prompt_file: Some(home.join("system.md")),
        system_prompt: Some("Speak Latin.\n".to_owned()),
        mcp_config: Some(home.join("mcp.json")),
        mcp_servers: Some(
            r#"{"mcpServers": {
                "local": {"command": "true", "args": ["x"], "env": {"MODE": "a", "API_KEY": "b"}},
                "remote": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "c"}}
            }}"#
            .to_owned(),
        ),
        allowed_tools: vec!["Edit".to_owned()],
        subagents: Vec::new(),
        extra_args: Vec::new(),
        home: home.to_owned(),
        is_root: true,
        workspace: home.to_owned(),
        files: home.join("launch"),
    }
}

/// The program with the plan's environment and files, and nothing of ours but PATH.
fn prepared(program: &Path, plan: &LaunchPlan, home: &Path) -> Command {
    for (place, content) in &plan.home_files {
        let path = home.join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for (name, content) in &plan.files {
        std::fs::create_dir_all(home.join("launch")).unwrap();
        std::fs::write(home.join("launch").join(name), content).unwrap();
    }
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir(home);
    command
}

#[test]
fn every_flag_is_one_that_the_installed_version_knows() {
    let named: Vec<_> = HELP.iter().map(|(name, _)| *name).collect();
    let known: Vec<_> = agent::AGENTS.iter().map(|agent| agent.name).collect();
    assert_eq!(named, known, "every agent has its help");
    for (name, help) in HELP {
        let kind = agent::by_name(name).unwrap();
        let Some(program) = program(kind.command) else {
            continue;
        };
        let home = tempfile::tempdir().unwrap();
        let plans: Vec<LaunchPlan> = [
            AgentSession::New(NOBODYS),
            AgentSession::Resume(NOBODYS.to_string()),
        ]
        .into_iter()
        .flat_map(|session| [true, false].map(|is_root| (session.clone(), is_root)))
        .map(|(session, is_root)| planned(kind, home.path(), session, is_root))
        .collect();
        let output = prepared(&program, &plans[0], home.path())
            .args(*help)
            .output()
            .unwrap();
        // Some print it on stderr.
        let help = [output.stdout, output.stderr].concat();
        let help = String::from_utf8(help).unwrap();
        let known = |flag: &str| {
            let mut words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            words.any(|word| word == flag)
        };
        let arguments = plans.iter().flat_map(|plan| &plan.args);
        for argument in arguments.filter_map(|argument| argument.to_str()) {
            let flag = argument.split('=').next().unwrap_or_default();
            if flag.starts_with('-') && flag != "-" && !HIDDEN.contains(&flag) {
                assert!(known(flag), "{name}: {flag} is not in its help:\n{help}");
            }
        }
    }
}

/// The plan of a turn with every option that the CLI has.
fn planned(kind: &AgentKind, home: &Path, session: AgentSession, is_root: bool) -> LaunchPlan {
    let mut spec = TurnSpec {
        is_root,
        ..everything(home, session)
    };
    let plan = (kind.plan)(&spec).or_else(|error| {
        // Pi has no MCP, and says so.
        assert!(matches!(error, LaunchError::McpServers { .. }), "{error}");
        (spec.mcp_servers, spec.mcp_config) = (None, None);
        (kind.plan)(&spec)
    });
    plan.unwrap()
}

/// It gets that far only if every argument and every file of the plan is accepted.
#[test]
fn codex_says_that_it_lost_a_conversation_and_its_words_are_understood() {
    let kind = agent::by_name("codex").unwrap();
    let Some(program) = program(kind.command) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let spec = everything(home.path(), AgentSession::Resume(NOBODYS.to_string()));
    let plan = (kind.plan)(&spec).unwrap();
    let mut child = prepared(&program, &plan, home.path())
        .args(&plan.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Do it.").unwrap();
    let output = child.wait_with_output().unwrap();
    let reader = OutputReader::new(kind, Arc::new(Redactor::none()));
    let exit = Exit {
        code: output.status.code(),
        ..Exit::default()
    };
    let mut events = Vec::new();
    let evidence = reader.finish(Some(exit), &output.stderr, &mut |_| {}, &mut events);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(evidence, Evidence::ConversationMissing(_)),
        "{evidence:?} {stderr}"
    );
    assert!(output.stdout.is_empty());
}
