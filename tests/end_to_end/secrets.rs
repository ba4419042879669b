//! Keys are in no event, log, database or argument, even where the agent shows its own.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, MODEL_KEY};
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
    let git = GitServer::start(
        &bench.path(""),
        Behaviour {
            token: Some(GIT_TOKEN),
            ..Behaviour::default()
        },
    );
    let token = bench.file("token", GIT_TOKEN);
    let session = all.create(&json!({"task": "Show your keys."}));
    let repo = git.url("repo/.git");
    let words = [
        "daemon",
        "--output",
        "jsonl",
        "--log-level",
        "trace",
        "--hub",
        &hub.url,
    ];
    let mut command = bench.agent(&model, &words);
    command.args([
        "--session",
        &session,
        "--repo",
        &repo,
        "--git-token-file",
        &token,
    ]);
    command.env("AGENT_RUNNER_HUB_KEY", HUB_KEY);
    let daemon = bench.start(&mut command);
    let workspace = bench.path("state/workspaces").join(&session);
    made(&workspace.join("looking"));
    for process in bench.processes() {
        for secret in [HUB_KEY, GIT_TOKEN, MODEL_KEY] {
            assert!(!process.arguments.contains(secret), "{process:?}");
        }
    }
    for process in bench.descendants() {
        let environment = String::from_utf8_lossy(&process.environment);
        assert!(!environment.contains(HUB_KEY) && !environment.contains(GIT_TOKEN));
    }
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
