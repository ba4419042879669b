//! Keys are in no event, log, database or argument, even where the agent shows its own.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, Hub, MODEL_KEY, Model};
use crate::git_server::{Behaviour, GitServer};
use crate::participants::Participants;
use crate::running::made;

const HUB_KEY: &str = "hub-key-abcdefghijklmnopqrstuvwxyz";
const GIT_TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ";

const SCRIPT: &str = r#"
[[reply]]
steps = [
  { say = "The key is sk-ant-test-0123456789abcdefghijklmnop.", chunk = 5 },
  { shell = "touch looking; while [ ! -e go ]; do sleep 0.05; done; env | tee environment; echo $ANTHROPIC_API_KEY | base64" },
]
[[reply]]
steps = [{ say = "Seen." }]
"#;

/// A daemon that says all that it may.
fn talkative(bench: &Bench, model: &Model, hub: &Hub, session: &str) -> Command {
    let words = ["daemon", "--output", "jsonl", "--log-level", "trace"];
    let mut command = bench.agent(model, &words);
    command.args(["--hub", &hub.url, "--session", session]);
    command.env("AGENT_RUNNER_HUB_KEY", HUB_KEY);
    command
}

fn assert_not_in_arguments(bench: &Bench, secrets: &[&str]) {
    for process in bench.processes() {
        for secret in secrets {
            assert!(!process.arguments.contains(secret), "{process:?}");
        }
    }
}

fn assert_not_in_environments(bench: &Bench, secrets: &[&str]) {
    for process in bench.descendants() {
        let environment = String::from_utf8_lossy(&process.environment);
        for secret in secrets {
            assert!(!environment.contains(secret), "{}", process.arguments);
        }
    }
}

#[test]
fn no_secret_is_in_events_logs_databases_or_arguments() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let hub = bench.hub(Some(HUB_KEY));
    let model = bench.model(SCRIPT);
    let Some(mut all) = Participants::start(&bench, &hub, Some(HUB_KEY)) else {
        return;
    };
    let behaviour = Behaviour {
        token: Some(GIT_TOKEN),
        ..Behaviour::default()
    };
    let git = GitServer::start(&bench.path(""), behaviour);
    let token = bench.file("token", GIT_TOKEN);
    let session = all.create(&json!({"task": "Show your keys."}));
    let repo = git.url("repo/.git");
    let mut command = talkative(&bench, &model, &hub, &session);
    command.args(["--repo", &repo, "--git-token-file", &token]);
    let daemon = bench.start(&mut command);
    let workspace = bench.path("state/workspaces").join(&session);
    made(&workspace.join("looking"));
    assert_not_in_arguments(&bench, &[HUB_KEY, GIT_TOKEN, MODEL_KEY]);
    assert_not_in_environments(&bench, &[HUB_KEY, GIT_TOKEN]);
    fs::write(workspace.join("go"), "").unwrap();
    let end = daemon.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
    all.broadcast("agent_end", 1);
    daemon.signal(Signal::SIGTERM);
    let finished = daemon.finish();
    assert_eq!(finished.code(), 0);

    let environment = fs::read_to_string(workspace.join("environment")).unwrap();
    assert!(environment.contains(MODEL_KEY), "the agent has its own key");
    assert!(!environment.contains(HUB_KEY), "{environment}");
    let frames = format!("{:?}", all.broadcasts("observer"));
    assert!(frames.contains("ANTHROPIC_API_KEY=***"), "{frames}");
    let mut places = vec![
        ("events".to_owned(), finished.out.join("\n").into_bytes()),
        ("log".to_owned(), finished.err.into_bytes()),
        ("frames".to_owned(), frames.into_bytes()),
    ];
    let databases = ["state", "hub"]
        .into_iter()
        .flat_map(|name| bench.files(name));
    for path in databases.filter(|path| path.display().to_string().contains(".db")) {
        places.push((path.display().to_string(), fs::read(path).unwrap()));
    }
    assert!(places.len() > 4, "the databases are among them");
    let config = workspace.join(".git/config");
    places.push((config.display().to_string(), fs::read(config).unwrap()));
    for (place, content) in places {
        for secret in [HUB_KEY, GIT_TOKEN, MODEL_KEY, "c2stYW50LXRlc3Q"] {
            let found = memchr::memmem::find(&content, secret.as_bytes());
            assert!(found.is_none(), "{secret} in {place}");
        }
    }
}

/// Of every kind of character that a form changes, and longer than any piece that comes at once.
const ODD_KEY: &str = "k\"e\\y/with+odd=(signs)*&and%more \u{e9}\u{fc}-0123456789abcdef";

/// The forms in which it may turn up.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    let escaped = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let percent = |kept: &str| -> String {
        let one = |byte: u8| match byte {
            _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        secret.bytes().map(one).collect()
    };
    let once = escaped(secret);
    let mut forms = vec![
        ("plain", secret.to_owned()),
        ("JSON", once.clone()),
        ("JSON in JSON", escaped(&once)),
        (
            "URL",
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        ),
        ("URI component", percent("-_.!~*'()")),
        ("URL path", percent("-._~/")),
    ];
    for shift in 0..3 {
        let shifted = [&b"xx"[..shift], secret.as_bytes()].concat();
        for text in [STANDARD.encode(&shifted), URL_SAFE.encode(&shifted)] {
            forms.push(("base64", text));
        }
    }
    forms
}

/// What must not be found of a form. The ends of base64 are shared with what stands around it.
fn needle<'a>(form: &str, text: &'a str) -> &'a str {
    match form {
        "base64" => &text[4..text.len() - 8],
        _ => text,
    }
}

#[test]
fn a_secret_is_nowhere_in_any_form_however_its_pieces_come() {
    keeps_its_secrets("exec");
}

/// Also in what is asked of a person and answered, and in what a person attached sees.
#[test]
fn a_secret_is_nowhere_in_the_live_form_either() {
    keeps_its_secrets("live");
}

/// Of a server that the agent is told of.
const MCP_TOKEN: &str = "mcp-token-9f8e7d6c5b4a3928";

/// The model says it in pieces of three characters, and a tool prints it from the file `forms`.
fn script_that_says(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "[[reply]]\nsteps = [{{ say = {text}, chunk = 3 }}, {{ shell = \"cat forms; touch shown; echo {MCP_TOKEN}\" }}]\n\
         [[reply]]\nsteps = [{{ say = \"Seen.\" }}]\n"
    )
}

/// All that the daemon and the Hub keep, but for what the CLI keeps for itself.
fn kept(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let mut places = Vec::new();
    for path in ["state", "hub"].map(|name| bench.files(name)).concat() {
        let name = path.display().to_string();
        // Raw output is the one exception, for as long as its turn is open.
        let of_the_cli = name.contains("/agents/") || name.ends_with("/spool.raw");
        if path.is_file() && !of_the_cli {
            places.push((name, fs::read(path).unwrap()));
        }
    }
    places
}

/// The settings of an MCP server that is given a token, as a file.
fn servers_with_a_token(bench: &Bench) -> String {
    let server = json!({"command": "false", "env": {"SERVER_TOKEN": MCP_TOKEN}});
    let servers = json!({"mcpServers": {"none": server}}).to_string();
    bench.file("mcp.json", &servers)
}

fn keeps_its_secrets(mode: &str) {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let hub = bench.hub(Some(HUB_KEY));
    let said: Vec<String> = forms(ODD_KEY).into_iter().map(|(_, text)| text).collect();
    let all_forms = format!("{}\n{MCP_TOKEN}", said.join("\n"));
    let model = bench.model(&script_that_says(&all_forms));
    let Some(mut all) = Participants::start(&bench, &hub, Some(HUB_KEY)) else {
        return;
    };
    let session = all.create(&json!({"task": "Show your keys."}));
    let workspace = bench.path("work");
    fs::create_dir(&workspace).unwrap();
    fs::write(workspace.join("forms"), &all_forms).unwrap();
    let mut command = talkative(&bench, &model, &hub, &session);
    command.args(["--pass-env", "ODD_SECRET_KEY"]);
    command.arg("--workspace-dir").arg(&workspace);
    let is_live = mode == "live";
    command
        .args(["--mcp-config", &servers_with_a_token(&bench)])
        .args(["--mode", mode])
        .args(["--approve", if is_live { "ask" } else { "auto" }])
        .env("ODD_SECRET_KEY", ODD_KEY);
    let daemon = bench.start(&mut command);
    let attached = is_live.then(|| {
        let question = all.question("cat forms; touch shown; echo ***", 0);
        let mut command = bench.command(&["attach", "--hub", &hub.url, &session]);
        let viewer = bench.start(command.env("AGENT_RUNNER_HUB_KEY", HUB_KEY));
        all.answer_person(&question, &json!(true));
        viewer
    });
    let end = daemon.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
    all.broadcast("agent_end", 1);
    assert_not_in_arguments(&bench, &[HUB_KEY, MODEL_KEY, MCP_TOKEN, ODD_KEY]);
    assert_not_in_environments(&bench, &[HUB_KEY]);
    let around = asked_around(&bench, &session);
    daemon.signal(Signal::SIGTERM);
    let finished = daemon.finish();
    assert!(workspace.join("shown").exists(), "the tool ran");
    let attached = attached.map(|viewer| {
        viewer.signal(Signal::SIGTERM);
        viewer.finish().out.join("\n")
    });
    let is_seen = attached.as_ref().is_none_or(|seen| seen.contains("Seen."));
    assert!(is_seen, "{attached:?}");

    let events = finished.out.join("\n");
    assert!(events.contains("***"), "{events}");
    let frames = format!("{:?}", all.broadcasts("observer"));
    let mut places = vec![
        ("events".to_owned(), events.into_bytes()),
        ("log".to_owned(), finished.err.into_bytes()),
        ("frames".to_owned(), frames.into_bytes()),
    ];
    places.extend(attached.map(|seen| ("attach".to_owned(), seen.into_bytes())));
    places.extend(around);
    places.extend(kept(&bench));
    assert!(places.len() > 5, "the databases are among them");
    assert_nothing_told(&places);
}

/// What the commands say that look at a daemon, at a machine and at settings, and at a session that is
/// refused.
fn asked_around(bench: &Bench, session: &str) -> Vec<(String, Vec<u8>)> {
    let literal = |text: &str| serde_json::to_string(text).unwrap();
    let settings = format!(
        "[agents.claude.env]\nODD_SECRET_KEY = {}\n[hub]\nkey_env = \"AGENT_RUNNER_HUB_KEY\"\n",
        literal(ODD_KEY)
    );
    let config = bench.file("around.toml", &settings);
    let proxy = format!("http://me:{MCP_TOKEN}@127.0.0.1:9");
    let refused = json!({"settings": {"nonsense": [HUB_KEY], "model": 1}, "env": {"X": ODD_KEY}});
    bench.file("refused.json", &refused.to_string());
    let mut said = Vec::new();
    for words in [
        &["status", "--json"][..],
        &["status", "--json", "--session", session],
        &["sessions", "--json", "--all"],
        &["set", "--session", session],
        &["events", "--session", session],
        &["doctor", "--json"],
        &["doctor"],
        &["doctor", "--config", &config],
        &["run", "--config", &config, "--print-config", "Go."],
    ] {
        let mut command = bench.command(words);
        command
            .env("AGENT_RUNNER_HUB_KEY", HUB_KEY)
            .env("ODD_SECRET_KEY", ODD_KEY)
            .env("ANTHROPIC_API_KEY", MODEL_KEY)
            .env("HTTPS_PROXY", &proxy)
            .env("https_proxy", &proxy);
        let done = bench.start(&mut command).finish();
        assert!(!done.out.is_empty() || !done.err.is_empty(), "{words:?}");
        let text = format!("{}\n{}", done.out.join("\n"), done.err);
        said.push((words.join(" "), text.into_bytes()));
    }
    // Its answer is the asker's own; the log is looked through later.
    let socket = bench.text("state/api.sock");
    let body = format!("@{}", bench.text("refused.json"));
    let asked = Command::new("curl")
        .args(["--silent", "--unix-socket", &socket, "--json", &body])
        .arg("http://localhost/v1/sessions")
        .output();
    assert!(!asked.unwrap().stdout.is_empty());
    said
}

fn assert_nothing_told(places: &[(String, Vec<u8>)]) {
    for (place, content) in places {
        let holds = |text: &str| memchr::memmem::find(content, text.as_bytes()).is_some();
        for (form, text) in forms(ODD_KEY) {
            assert!(!holds(needle(form, &text)), "{form} in {place}");
        }
        for secret in [MCP_TOKEN, HUB_KEY] {
            assert!(!holds(secret), "{secret} in {place}");
        }
    }
}
