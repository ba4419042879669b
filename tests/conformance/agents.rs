//! The CLIs, and how each is pointed at the scripted model with its retries kept short.
//!
//! With `CONFORMANCE_FULL_RETRIES` set they retry as often as they do by themselves.

use std::path::{Path, PathBuf};

use serde_json::json;

/// One CLI under test.
pub(crate) struct Agent {
    /// What `--agent` calls it.
    pub(crate) name: &'static str,
    /// What the lists of gaps call it: its name, and its form where that is the live one.
    pub(crate) key: &'static str,
    /// Its executable, below `tests/tools/node_modules`.
    program: &'static str,
    /// The model to ask for.
    pub(crate) model: &'static str,
    /// Its environment: the name and the value, in which `$URL` stands for the model server.
    env: &'static [(&'static str, &'static str)],
    /// A file of its home, with `$URL` likewise.
    home_file: Option<(&'static str, &'static str)>,
    /// Its own tools in the words of a script, by what stands for them there.
    tools: &'static [(&'static str, &'static str)],
    /// How it is told to end a turn after two rounds with the model, where it can be.
    two_rounds: Option<Rounds>,
    /// Where it keeps its conversations, within its home.
    pub(crate) conversations: &'static str,
}

/// How a CLI is told to stop early.
enum Rounds {
    /// By an argument.
    Argument(&'static str),
    /// By its settings file, in place of the one of its home.
    HomeFile(&'static str),
}

pub(crate) const CLAUDE: Agent = Agent {
    name: "claude",
    key: "claude",
    program: ".bin/claude",
    model: "claude-opus-4-8",
    env: &[
        ("ANTHROPIC_BASE_URL", "$URL"),
        ("ANTHROPIC_API_KEY", "any"),
        ("CLAUDE_CODE_MAX_RETRIES", "1"),
    ],
    home_file: None,
    tools: &[
        MCP,
        AGENT,
        ("PLAN", CLAUDE_PLAN),
        ("QUESTION", CLAUDE_QUESTION),
        ("BACKGROUND", CLAUDE_BACKGROUND),
        ("CHILD", CLAUDE_CHILD),
    ],
    two_rounds: Some(Rounds::Argument("--max-turns=2")),
    conversations: ".claude/projects",
};

/// Tasks are made one by one, and changed by the numbers that they get.
const CLAUDE_PLAN: &str = r#"{ tool = "TaskCreate", input = { subject = "Look", description = "Look" } }, { tool = "TaskCreate", input = { subject = "Do", description = "Do" } }]
[[scenario.reply]]
steps = [{ tool = "TaskUpdate", input = { taskId = "1", status = "completed" } }"#;

const CLAUDE_BACKGROUND: &str = r#"{ tool = "Bash", input = { command = "touch begun; until [ -e go ]; do sleep 0.05; done; echo late", run_in_background = true } }"#;

const CLAUDE_CHILD: &str = r#"{ tool = "Agent", input = { description = "Look", prompt = "Look around for me.", subagent_type = "general-purpose", run_in_background = true } }"#;

const CODEX_BACKGROUND: &str = r#"{ tool = "exec_command", input = { cmd = "touch begun; until [ -e go ]; do sleep 0.05; done; echo late", yield_time_ms = 250 } }"#;

const CODEX_QUESTION: &str = r#"{ tool = "request_user_input", input = { questions = [{ id = "colour", header = "Colour", question = "Which colour?", options = [{ label = "Red", description = "warm" }, { label = "Blue", description = "cold" }] }] } }"#;

const CLAUDE_QUESTION: &str = r#"{ tool = "AskUserQuestion", input = { questions = [{ question = "Which colour?", header = "Colour", multiSelect = false, options = [{ label = "Red", description = "warm" }, { label = "Blue", description = "cold" }] }] } }"#;

const MCP: (&str, &str) = ("MCP", r#"{ mcp = "lab/echo", input = { text = "hi" } }"#);
const AGENT: (&str, &str) = (
    "AGENT",
    r#"{ agent = "Look around for me.", title = "Look" }"#,
);

pub(crate) const CODEX: Agent = Agent {
    name: "codex",
    key: "codex",
    program: ".bin/codex",
    model: "gpt-5.5",
    env: &[("OPENAI_API_KEY", "any")],
    home_file: Some((
        ".codex/config.toml",
        r#"model_provider = "scripted"
model_reasoning_summary = "auto"
[model_providers.scripted]
name = "Scripted"
base_url = "$URL/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
"#,
    )),
    tools: &[
        MCP,
        AGENT,
        (
            "PLAN",
            r#"{ tool = "update_plan", input = { plan = [{ step = "Look", status = "completed" }, { step = "Do", status = "pending" }] } }"#,
        ),
        ("QUESTION", CODEX_QUESTION),
        ("BACKGROUND", CODEX_BACKGROUND),
        // the scripted model waits for it as long as the CLI lets it, which is 30 s
        ("CHILD", AGENT.1),
    ],
    two_rounds: None,
    conversations: ".codex/sessions",
};

pub(crate) const OPENCODE: Agent = Agent {
    name: "opencode",
    key: "opencode",
    program: "opencode-linux-x64/bin/opencode",
    model: "scripted/scripted",
    env: &[
        ("OPENCODE_CONFIG_CONTENT", OPENCODE_CONFIG),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        // it looks for plugins at each start; there is no registry at this port
        ("npm_config_registry", "http://127.0.0.1:9/"),
    ],
    home_file: None,
    tools: &[
        MCP,
        AGENT,
        GLOB,
        (
            "GREP",
            r#"{ tool = "grep", input = { pattern = "alpha" } }"#,
        ),
        (
            "PLAN",
            r#"{ tool = "todowrite", input = { todos = [{ content = "Look", status = "completed", priority = "high" }, { content = "Do", status = "pending", priority = "high" }] } }"#,
        ),
    ],
    two_rounds: None,
    conversations: ".local/share/opencode",
};

const GLOB: (&str, &str) = (
    "GLOB",
    r#"{ tool = "glob", input = { pattern = "made/*.txt" } }"#,
);

const OPENCODE_CONFIG: &str = r#"{
  "small_model": "scripted/scripted",
  "enabled_providers": ["scripted"],
  "provider": {"scripted": {
    "npm": "@ai-sdk/openai-compatible",
    "options": {"baseURL": "$URL/v1", "apiKey": "any"},
    "models": {
      "scripted": {
        "reasoning": true, "tool_call": true, "limit": {"context": 200000, "output": 32000}
      },
      "other": {
        "reasoning": true, "tool_call": true, "limit": {"context": 200000, "output": 32000}
      }
    }
  }}
}"#;

pub(crate) const GEMINI: Agent = Agent {
    name: "gemini",
    key: "gemini",
    program: ".bin/gemini",
    model: "gemini-3.8-flash",
    env: &[
        ("GOOGLE_GEMINI_BASE_URL", "$URL"),
        ("GEMINI_API_KEY", "any"),
    ],
    home_file: Some((
        ".gemini/settings.json",
        r#"{"general": {"maxAttempts": 2}}"#,
    )),
    tools: &[
        MCP,
        AGENT,
        GLOB,
        (
            "GREP",
            r#"{ tool = "grep_search", input = { pattern = "alpha" } }"#,
        ),
    ],
    two_rounds: Some(Rounds::HomeFile(
        r#"{"general": {"maxAttempts": 2}, "model": {"maxSessionTurns": 2}}"#,
    )),
    conversations: ".gemini/tmp",
};

pub(crate) const PI: Agent = Agent {
    name: "pi",
    key: "pi",
    program: ".bin/pi",
    model: "scripted/scripted",
    env: &[("PI_OFFLINE", "1")],
    home_file: Some((
        ".pi/agent/models.json",
        r#"{"providers": {"scripted": {
            "baseUrl": "$URL/v1", "api": "openai-completions", "apiKey": "any",
            "models": [{"id": "scripted", "reasoning": true}]
        }}}"#,
    )),
    tools: &[],
    two_rounds: None,
    conversations: ".pi/agent/sessions",
};

pub(crate) const CLAUDE_LIVE: Agent = Agent {
    key: "claude live",
    ..CLAUDE
};

pub(crate) const CODEX_LIVE: Agent = Agent {
    key: "codex live",
    ..CODEX
};

pub(crate) const OPENCODE_LIVE: Agent = Agent {
    key: "opencode live",
    ..OPENCODE
};

pub(crate) const GEMINI_LIVE: Agent = Agent {
    key: "gemini live",
    ..GEMINI
};

/// Those with a live form, in it, in the order of their table in `docs/agents.md`.
pub(crate) const LIVE: [&Agent; 4] = [&CLAUDE_LIVE, &CODEX_LIVE, &OPENCODE_LIVE, &GEMINI_LIVE];

/// All of them, in the order of the table in `docs/agents.md`.
pub(crate) const AGENTS: [&Agent; 5] = [&CLAUDE, &CODEX, &OPENCODE, &GEMINI, &PI];

/// What a step of the script stands for that each CLI has, or has not, in its own words.
const MARKS: [&str; 6] = ["PLAN", "GLOB", "GREP", "MCP", "AGENT", "QUESTION"];

impl Agent {
    /// What `--mode` is for it.
    pub(crate) fn mode(&self) -> &'static str {
        if self.key == self.name {
            "exec"
        } else {
            "live"
        }
    }

    /// Whether it can be told to end a turn early.
    pub(crate) fn has_rounds(&self) -> bool {
        self.two_rounds.is_some()
    }

    /// The executable, or nothing where it is not installed and nobody insists.
    pub(crate) fn installed(&self) -> Option<PathBuf> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/node_modules");
        let path = Path::new(folder).join(self.program);
        if path.exists() {
            return Some(path);
        }
        let missing = format!(
            "needs {}, get it with scripts/install-test-tools",
            self.name
        );
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        println!("skipped: {missing}");
        None
    }

    /// The variables and the home file of a turn against the model at `url`.
    pub(crate) fn place(&self, url: &str, two_rounds: bool) -> Place {
        let limit = self.two_rounds.as_ref().filter(|_| two_rounds);
        let full = std::env::var_os("CONFORMANCE_FULL_RETRIES").is_some();
        let filled = |text: &str| {
            let text = text.replace("$URL", url);
            let short = |line: &&str| !(full && line.contains("_max_retries"));
            let lines: Vec<_> = text.lines().filter(short).collect();
            let text = lines.join("\n");
            if full {
                text.replace(r#""maxAttempts": 2"#, r#""maxAttempts": 10"#)
            } else {
                text
            }
        };
        let env: Vec<_> = self
            .env
            .iter()
            .filter(|(name, _)| !(full && *name == "CLAUDE_CODE_MAX_RETRIES"))
            .map(|(name, value)| ((*name).to_owned(), filled(value)))
            .collect();
        let mut home_file = self.home_file.map(|(path, text)| (path, filled(text)));
        let mut arguments = Vec::new();
        match limit {
            Some(Rounds::Argument(argument)) => arguments.push(format!("--agent-arg={argument}")),
            Some(Rounds::HomeFile(text)) => {
                if let Some((_, content)) = &mut home_file {
                    *content = filled(text);
                }
            }
            None => {}
        }
        Place {
            env,
            home_file,
            arguments,
        }
    }

    /// The script with the CLI's own tools in it, and without the replies that need a tool that it
    /// does not have.
    pub(crate) fn script(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (mark, step) in self.tools {
            filled = filled.replace(&format!(" {mark}]"), &format!(" {step}]"));
        }
        let head = "[[scenario.reply]]";
        let unfilled = |part: &&str| {
            let is_in = |mark: &&str| part.contains(&format!(" {mark}]"));
            MARKS.iter().any(is_in)
        };
        let parts: Vec<_> = filled.split(head).filter(|part| !unfilled(part)).collect();
        parts.join(head)
    }
}

/// What a turn of a CLI needs around it.
pub(crate) struct Place {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) home_file: Option<(&'static str, String)>,
    /// Arguments of the runner.
    pub(crate) arguments: Vec<String>,
}

/// The MCP server of the tour, in the one form that all agents take.
pub(crate) fn mcp_config() -> String {
    let server = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/scripted_model/echo-mcp.mjs"
    );
    json!({"mcpServers": {"lab": {"command": "node", "args": [server]}}}).to_string()
}

/// The folder with the `rg` that comes with Codex, which OpenCode would fetch if it were missing.
pub(crate) fn ripgrep() -> PathBuf {
    let package = "tests/tools/node_modules/@openai/codex-linux-x64";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(package)
        .join("vendor/x86_64-unknown-linux-musl/codex-path")
}
