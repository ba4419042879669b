//! On whose behalf a prompt is: what is committed in its turn names them.

use std::path::Path;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::ground::{config_with_work, git, repository};
use crate::participants::Participants;

const COMMIT: &str = "git commit -q --allow-empty -m work";

const SCRIPT: &str = r#"
[[scenario]]
match = "Commit it"
[[scenario.reply]]
steps = [{ shell = "git commit -q --allow-empty -m work" }]
[[scenario.reply]]
steps = [{ say = "Committed." }]
"#;

const AUTHORS: [&str; 3] = [
    "Eve E. <eve@example.com>",
    "Ada \"Countess\" L. <ada@example.com>",
    "Bob <bob@example.com>",
];

/// Author and committer of the newest commits, the newest first, and the authors of the checkpoints.
fn assert_commits(workspace: &Path) {
    let format = "--format=%an <%ae>|%cn";
    let log = git(workspace, &["log", format, "-4"]);
    let [eve, ada, bob] = AUTHORS;
    let expected = [eve, bob, ada, eve].map(|author| format!("{author}|Eve E."));
    assert_eq!(log, expected.join("\n"));
    let refs = "--format=%(authorname) %(authoremail)|%(committername)";
    let kept = git(workspace, &["for-each-ref", refs, "refs/agent-runner"]);
    let kept: Vec<&str> = kept.lines().skip(1).collect();
    let expected = [eve, ada, bob, eve].map(|author| format!("{author}|agent-runner"));
    assert_eq!(kept, expected);
}

/// Four turns of one session: for nobody, by the API, by the Hub, and for nobody again.
fn four_turns(bench: &Bench, config: &str, url: Option<&str>, mode: &str) {
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(bench, &hub, None) else {
        return;
    };
    let repo = json!({"url": format!("file://{}", bench.text("r"))});
    let session = all.create(&json!({"task": "Commit it.", "repo": repo}));
    let mut command = bench.lead(config, &hub, &session);
    command.args(["--output", "jsonl"]);
    command.env("AGENT_RUNNER_MODE", mode);
    if let Some(url) = url {
        command.env("ANTHROPIC_BASE_URL", url);
        command.env("ANTHROPIC_API_KEY", "sk-ant-any");
    }
    // What a process began with does not count against a prompt's author.
    command.env("GIT_AUTHOR_NAME", "Wrong");
    command.env("GIT_AUTHOR_EMAIL", "wrong@example.com");
    let _daemon = bench.start(&mut command);
    all.broadcast("agent_end", 1);
    let mut prompt = bench.command(&["prompt", "--session", &session, "--wait"]);
    let done = bench
        .start(prompt.args(["--author", AUTHORS[1], "Commit it."]))
        .finish();
    assert_eq!(done.code(), 0, "{done:#?}");
    let author = json!({"displayName": "Bob", "email": "bob@example.com", "actorType": "user"});
    all.command(&json!({"type": "prompt", "message": "Commit it.", "author": author}));
    all.broadcast("agent_end", 3);
    // One that git would read as something else is no author.
    let author = json!({"displayName": "Bob <root", "email": "bob@example.com"});
    let wrong = json!({"type": "prompt", "message": "Commit it.", "author": author});
    let refused = all.response(&wrong);
    assert_eq!(refused["success"], Value::Bool(false), "{refused}");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("Name <address>")
    );
    all.command(&json!({"type": "prompt", "message": "Commit it."}));
    all.broadcast("agent_end", 4);
    assert_commits(&bench.path("state/workspaces").join(&session));
    // Who asked stands in the conversation.
    let replay = all.ask(json!({"do": "replay"}));
    let entries = replay["entries"].as_array().unwrap().iter();
    let names: Vec<&Value> = entries
        .filter(|entry| entry["type"] == "user_prompt" && entry.get("sequence").is_some())
        .map(|entry| &entry["author"]["displayName"])
        .collect();
    let none = &Value::Null;
    assert_eq!(
        names,
        [none, &json!("Ada \"Countess\" L."), &json!("Bob"), none]
    );
}

#[test]
fn commits_name_the_author_of_the_prompt_that_they_are_made_for() {
    let bench = Bench::new();
    repository(&bench, "r");
    let settings = format!("[git]\nauthor = {:?}\n", AUTHORS[0]);
    let config = config_with_work(&bench, COMMIT, &settings);
    four_turns(&bench, &config, None, "exec");

    let mut command = bench.command(&["prompt", "--author", "Ada <a@b> <c@d>", "x"]);
    let said = bench.start(&mut command).finish();
    assert_eq!(said.code(), 64, "{said:#?}");
    assert!(said.err.contains("Name <address>"), "{}", said.err);
}

#[test]
fn a_live_process_commits_for_each_prompts_author() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    repository(&bench, "r");
    let model = bench.model(SCRIPT);
    let settings = format!("[git]\nauthor = {:?}\n", AUTHORS[0]);
    let config = bench.file("config.toml", &settings);
    four_turns(&bench, &config, Some(&model.url), "live");
}
