//! The CLIs under test, and what each is started with.

use std::path::{Path, PathBuf};

use agent_runner::agent::{AgentSession, TurnSpec};
use serde_json::json;

/// A CLI under test.
pub(crate) struct Cli {
    pub(crate) agent: &'static str,
    /// Its executable, below `tests/tools/node_modules`.
    pub(crate) program: &'static str,
    pub(crate) model: &'static str,
    /// Its environment; `$URL` stands for the model server, `$SILENT` for one that answers nothing.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// A file of its home, with `$URL` likewise.
    pub(crate) home_file: Option<(&'static str, &'static str)>,
}

pub(crate) const CLAUDE: Cli = Cli {
    agent: "claude",
    program: ".bin/claude",
    model: "claude-opus-4-8",
    env: &[("ANTHROPIC_BASE_URL", "$URL"), ("ANTHROPIC_API_KEY", "any")],
    home_file: None,
};

pub(crate) const CODEX: Cli = Cli {
    agent: "codex",
    program: ".bin/codex",
    model: "gpt-5.5",
    env: &[("KEY", "any")],
    home_file: Some((
        ".codex/config.toml",
        "model_provider = \"scripted\"\n[model_providers.scripted]\nname = \"Scripted\"\n\
         base_url = \"$URL/v1\"\nenv_key = \"KEY\"\nwire_api = \"responses\"\n",
    )),
};

pub(crate) const OPENCODE: Cli = Cli {
    agent: "opencode",
    program: "opencode-linux-x64/bin/opencode",
    model: "scripted/scripted",
    env: &[
        ("OPENCODE_CONFIG_CONTENT", OPENCODE_CONFIG),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        // one that answers nothing: whoever asked it at the start would wait
        ("npm_config_registry", "$SILENT"),
    ],
    home_file: None,
};

const OPENCODE_CONFIG: &str = r#"{
  "small_model": "scripted/scripted",
  "enabled_providers": ["scripted"],
  "provider": {"scripted": {
    "npm": "@ai-sdk/openai-compatible",
    "options": {"baseURL": "$URL/v1", "apiKey": "any"},
    "models": {"scripted": {
      "reasoning": true, "tool_call": true, "attachment": true,
      "modalities": {"input": ["text", "image"], "output": ["text"]}, "limit": {"context": 200000, "output": 32000}
    }}
  }}
}"#;

pub(crate) const GEMINI: Cli = Cli {
    agent: "gemini",
    program: ".bin/gemini",
    model: "gemini-3.8-flash",
    env: &[
        ("GOOGLE_GEMINI_BASE_URL", "$URL"),
        ("GEMINI_API_KEY", "any"),
    ],
    home_file: None,
};

pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/node_modules");
    let path = Path::new(tools).join(program);
    if path.exists() {
        return Some(path);
    }
    let needs = format!("needs {program}, get it with scripts/install-test-tools");
    assert!(std::env::var_os("CI").is_none(), "{needs}");
    println!("skipped: {needs}");
    None
}

fn mcp_servers() -> String {
    let server = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/scripted_model/echo-mcp.mjs"
    );
    json!({"mcpServers": {"lab": {"command": "node", "args": [server]}}}).to_string()
}

pub(crate) fn spec(cli: &Cli, dir: &Path, agent_session: AgentSession) -> TurnSpec {
    TurnSpec {
        agent_session,
        model: Some(cli.model.to_owned()),
        effort: None,
        system_prompt_file: None,
        system_prompt: None,
        mcp_config: None,
        // only where a test is about it: starting it takes time
        mcp_servers: (cli.agent == "codex").then(mcp_servers),
        settings: None,
        variables: cli.env.iter().map(|(name, _)| (*name).to_owned()).collect(),
        allowed_tools: Vec::new(),
        subagents: Vec::new(),
        extra_args: Vec::new(),
        home: dir.join("home"),
        is_root: true,
        workspace: dir.join("here"),
        files: dir.join("launch"),
    }
}
