//! Hub, model, and agents on their way to it.

use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::engine::{Container, Lines, RUNNER, docker, try_docker};

/// An agent's way to the scripted model, which is at `$URL`.
pub(crate) struct Agent {
    pub(crate) name: &'static str,
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// A script that tells it of the model where no variable does.
    pub(crate) setup: Option<&'static str>,
}

pub(crate) const CLAUDE: Agent = Agent {
    name: "claude",
    env: &[("ANTHROPIC_BASE_URL", "$URL"), ("ANTHROPIC_API_KEY", "any")],
    setup: None,
};

pub(crate) const CODEX: Agent = Agent {
    name: "codex",
    env: &[
        ("OPENAI_API_KEY", "any"),
        ("AGENT_RUNNER_MODEL", "gpt-5.5"),
        (
            "AGENT_RUNNER_AGENT_ARG",
            "-c\nmodel_provider=scripted\n-c\nmodel_providers.scripted={name=\"Scripted\",base_url=\"$URL/v1\",env_key=\"OPENAI_API_KEY\",wire_api=\"responses\"}",
        ),
    ],
    setup: None,
};

pub(crate) const OPENCODE: Agent = Agent {
    name: "opencode",
    env: &[
        ("AGENT_RUNNER_MODEL", "scripted/scripted"),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        // It looks for plugins at each start; there is no registry at this port.
        ("npm_config_registry", "http://127.0.0.1:9/"),
        ("AGENT_RUNNER_PASS_ENV", "npm_config_registry"),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
        (
            "OPENCODE_CONFIG_CONTENT",
            r#"{"small_model": "scripted/scripted", "enabled_providers": ["scripted"],
            "provider": {"scripted": {"npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": "$URL/v1", "apiKey": "any"},
            "models": {"scripted": {"tool_call": true}}}}}"#,
        ),
    ],
    setup: None,
};

pub(crate) const GEMINI: Agent = Agent {
    name: "gemini",
    env: &[
        ("AGENT_RUNNER_MODEL", "gemini-3.8-flash"),
        ("GOOGLE_GEMINI_BASE_URL", "$URL"),
        ("GEMINI_API_KEY", "any"),
    ],
    setup: None,
};

pub(crate) const PI: Agent = Agent {
    name: "pi",
    env: &[
        ("AGENT_RUNNER_MODEL", "scripted/scripted"),
        ("PI_OFFLINE", "1"),
        ("AGENT_RUNNER_PASS_ENV", "PI_OFFLINE"),
    ],
    setup: Some(
        r#"mkdir -p ~/.pi/agent; cat >~/.pi/agent/models.json <<'END'
{"providers": {"scripted": {"baseUrl": "$URL/v1", "api": "openai-completions", "apiKey": "any",
  "models": [{"id": "scripted"}]}}}
END
"#,
    ),
};

pub(crate) const AGENTS: [&Agent; 5] = [&CLAUDE, &CODEX, &OPENCODE, &GEMINI, &PI];

pub(crate) const HUB_KEY: &str = "hub-key-0123456789abcdef";

/// A command between two texts; `$COMMAND` stands for it.
const SCRIPT: &str = r#"
[[reply]]
steps = [{ say = "I begin." }, { shell = "$COMMAND" }]
[[reply]]
steps = [{ say = "I am done." }]
"#;

/// The forms in which an agent runs.
pub(crate) const FORMS: [&str; 2] = ["live", "exec"];

/// Those that this agent has.
pub(crate) fn forms_of(agent: &Agent) -> &'static [&'static str] {
    match agent.name {
        "pi" => &["exec"],
        _ => &FORMS,
    }
}

/// What a tool has printed; Gemini does not say so in live form.
pub(crate) fn output_of<'a>(tool: &'a Value, agent: &Agent, form: &str) -> Option<&'a str> {
    let text = tool["output"].as_str();
    assert!(
        text.is_some() || (agent.name, form) == ("gemini", "live"),
        "{tool}"
    );
    text
}

/// Ends when the command has begun.
pub(crate) const BEGUN: &str = "until [ -e /workspace/begun ]; do sleep 0.05; done";

/// Hub and model, on this machine's loopback, which the containers share.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) hub: String,
    pub(crate) model: String,
    _running: [Lines; 2],
}

impl Bench {
    pub(crate) fn new(command: &str) -> Self {
        Self::at("127.0.0.1", command)
    }

    /// With Hub and model on another address of this machine.
    pub(crate) fn at(address: &str, command: &str) -> Self {
        Self::playing(address, &SCRIPT.replace("$COMMAND", command))
    }

    /// With a script of the test's own.
    pub(crate) fn playing(address: &str, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("script.toml"), script).unwrap();
        let (hub, hub_process) = server(dir.path(), address, &["hub"]);
        let words = [
            "scripted-model",
            "--script",
            "script.toml",
            "--record",
            "requests.jsonl",
        ];
        let (model, model_process) = server(dir.path(), "127.0.0.1", &words);
        // The model asks for no key and stays on loopback.
        let model = match address {
            "127.0.0.1" => model,
            address => forward(address, &model),
        };
        Self {
            dir,
            hub,
            model,
            _running: [hub_process, model_process],
        }
    }

    pub(crate) fn create_session(&self, body: &Value) -> String {
        let body = body.to_string();
        let address = format!("{}/api/hub/session", self.hub);
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--json", &body, &address])
            .args(["--header", &format!("Authorization: Bearer {HUB_KEY}")])
            .output();
        let answer: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        answer["sessionId"].as_str().unwrap().to_owned()
    }

    /// What the Hub has of a session.
    pub(crate) fn history(&self, session: &str) -> String {
        let address = format!("{}/api/hub/session/{session}/replay", self.hub);
        let output = Command::new("curl")
            .args(["--silent", "--fail", &address])
            .args(["--header", &format!("Authorization: Bearer {HUB_KEY}")])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// A container that leads `session` until its task is done.
    pub(crate) fn start(&self, image: &str, session: &str, agent: &Agent) -> Container {
        let session = format!("AGENT_RUNNER_SESSION={session}");
        self.start_with(image, agent, &["--env", &session])
    }

    pub(crate) fn start_with(&self, image: &str, agent: &Agent, more: &[&str]) -> Container {
        self.start_in("host", image, agent, more)
    }

    pub(crate) fn start_in(
        &self,
        network: &str,
        image: &str,
        agent: &Agent,
        more: &[&str],
    ) -> Container {
        let mut settings = vec![
            format!("AGENTUITY_CODER_URL={}", self.hub),
            format!("AGENTUITY_SDK_KEY={HUB_KEY}"),
            "AGENT_RUNNER_OUTPUT=jsonl".to_owned(),
        ];
        settings.extend(agent.env.iter().map(|(name, value)| {
            let value = value.replace("$URL", &self.model);
            format!("{name}={value}")
        }));
        let mount = self
            .setup(agent)
            .map(|script| format!("{script}:/setup.sh:ro"));
        if mount.is_some() {
            settings.push("AGENT_RUNNER_SETUP=/setup.sh".to_owned());
        }
        let options = settings.iter().flat_map(|value| ["--env", value]);
        let mount = mount.iter().flat_map(|mount| ["--volume", mount]);
        let options: Vec<&str> = options.chain(mount).chain(more.iter().copied()).collect();
        Container::start_in(network, image, &options, &["--once"])
    }

    /// The file of the agent's script.
    fn setup(&self, agent: &Agent) -> Option<String> {
        let script = agent.setup?.replace("$URL", &self.model);
        let path = self.dir.path().join("setup.sh");
        fs::write(&path, script).unwrap();
        Some(path.to_str().unwrap().to_owned())
    }

    /// A command of the program under test on this machine, with `agent` in a container beside it.
    pub(crate) fn beside(&self, image: &str, agent: &Agent, words: &[&str]) -> Command {
        let mut command = Command::new(RUNNER);
        let state = self.dir.path().join("state");
        command
            .args(words)
            .args(["--sandbox", "docker", "--sandbox-image", image])
            .args(["--sandbox-network", "host", "--output", "jsonl"])
            .args(["--agent", agent.name])
            .env_clear()
            .envs(
                ["PATH", "DOCKER_HOST"]
                    .map(|name| (name, std::env::var_os(name).unwrap_or_default()))
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty()),
            )
            .env("AGENT_RUNNER_STATE_DIR", state)
            .env("AGENTUITY_SDK_KEY", HUB_KEY)
            .env("HOME", self.dir.path())
            .stdin(Stdio::null());
        for (name, value) in agent.env {
            command.env(name, value.replace("$URL", &self.model));
        }
        if let Some(script) = self.setup(agent) {
            command.env("AGENT_RUNNER_SETUP", script);
        }
        command
    }

    /// The bodies of what the agent asked the model, without its questions on its own account.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("requests.jsonl")).unwrap();
        let bodies = text.lines().map(|line| {
            let request: Value = serde_json::from_str(line).unwrap();
            request["body"].clone()
        });
        let has_tools = |body: &Value| {
            body["tools"]
                .as_array()
                .is_some_and(|list| !list.is_empty())
        };
        bodies.filter(has_tools).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Of a test that failed. What is in the folder is gone, and with it all that could end one.
        let runs = self.dir.path().display().to_string();
        for container in containers().lines().filter(|line| line.contains(&runs)) {
            let id = container.split(' ').next().unwrap_or_default();
            let _gone = try_docker(&["rm", "--force", "--volumes", id]);
        }
    }
}

/// All containers of runs: each one's id, and the folder of its run.
pub(crate) fn containers() -> String {
    let format = "{{.ID}} {{.Label \"com.agentuity.agent-runner.run\"}}";
    docker(&["ps", "--all", "--format", format])
}

/// Starts a server of this program; its address.
fn server(dir: &Path, address: &str, words: &[&str]) -> (String, Lines) {
    let mut command = Command::new(RUNNER);
    command
        .args(words)
        .args(["--listen", &format!("{address}:0")])
        .current_dir(dir)
        .env_clear()
        .env("AGENT_RUNNER_STATE_DIR", dir.join("hub"))
        .stdin(Stdio::null());
    if words == ["hub"] {
        command.env("AGENT_RUNNER_API_KEY", HUB_KEY);
    }
    let lines = Lines::of(&mut command);
    let first = lines.next().expect("a server says its address");
    (first.strip_prefix("listening ").unwrap().to_owned(), lines)
}

/// An address whose connections go to that of `server`.
fn forward(address: &str, server: &str) -> String {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let target = server.strip_prefix("http://").unwrap().to_owned();
    let place = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&target) else {
                return;
            };
            let ways = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
            for (from, to) in ways {
                let (mut from, mut to) = (from.unwrap(), to.unwrap());
                std::thread::spawn(move || {
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(Shutdown::Write));
                });
            }
        }
    });
    place
}

pub(crate) fn is_end(event: &Value) -> bool {
    event["type"] == "end"
}
