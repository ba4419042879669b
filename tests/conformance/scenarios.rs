//! The scenarios: how each is set up, and that its events are those that are expected.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::agents::Agent;
use crate::bench::Bench;
use crate::expected;
use crate::gaps;
use crate::listing::{self, Part, Rules};
use crate::running::{Running, eventually, made};
use crate::session::Session;
use crate::told;

/// The CLI tells its model of a skill that was put where it looks.
pub(crate) fn skill(agent: &'static Agent) {
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let folder = bench.path("skills/heron-facts");
    fs::create_dir_all(&folder).unwrap();
    let text = "---\nname: heron-facts\ndescription: Facts of the grey heron.\n---\nIt stands.\n";
    fs::write(folder.join("SKILL.md"), text).unwrap();
    let mut command = bench.agent_command(&["run"], false);
    command
        .arg("--skill")
        .arg(&folder)
        .arg("Which word was it again?");
    let done = Running::start(&mut command).finish();
    assert_eq!(done.code(), 0, "{done:#?}");
    let asked = bench.requests();
    let knows = |body: &Value| body.to_string().contains("Facts of the grey heron.");
    assert!(asked.iter().any(knows), "{asked:#?}");
}

/// One turn to its end.
pub(crate) fn turn(agent: &'static Agent, name: &str, prompt: &str) {
    if gaps::is_left_out(agent.key, name) {
        return;
    }
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let events = run(&bench, prompt, false);
    check(&bench, &events, &[name], None);
}

/// Outputs are what the CLI printed, to the byte.
pub(crate) fn large(agent: &'static Agent) {
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let running = Running::start(&mut bench.agent_command(&["run", "Print a lot."], false));
    running.event("session", |event| event["type"] == "session");
    bench.keep_output();
    let events = running.finish().events();
    let printed = fs::read_to_string(bench.path("printed")).unwrap();
    let mut texts = BTreeSet::new();
    for line in printed.lines() {
        gather(&serde_json::from_str(line).unwrap_or_default(), &mut texts);
    }
    check(&bench, &events, &["large"], Some(texts));
}

fn gather(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(texts.insert(text.clone())),
        Value::Array(values) => values.iter().for_each(|value| gather(value, texts)),
        Value::Object(fields) => fields.values().for_each(|value| gather(value, texts)),
        _ => {}
    }
}

/// A CLI that can be told so ends after two rounds with the model.
pub(crate) fn max_turns(agent: &'static Agent) {
    let limited = !gaps::has(agent.key, "max-turns");
    assert_eq!(limited, agent.has_rounds(), "the gap is there or it is not");
    if !limited {
        return;
    }
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let events = run(&bench, "Go on and on.", true);
    check(&bench, &events, &["max turns"], None);
}

/// Somebody sends SIGTERM to the CLI in the middle of a tool.
pub(crate) fn sigterm(agent: &'static Agent) {
    let Some(bench) = Bench::with(agent) else {
        return;
    };
    let running = Running::start(&mut bench.agent_command(&["run", "Wait to be ended."], false));
    made(&bench.path("here/waiting"));
    if !gaps::has(agent.key, "call-start") {
        running.event("call", |event| event["type"] == "tool_start");
    }
    kill(bench.cli(), Signal::SIGTERM).unwrap();
    let events = running.finish().events();
    check(&bench, &events, &["sigterm"], None);
}

/// A second turn goes on with the conversation of the first; a third one finds it gone.
pub(crate) async fn resume(agent: &'static Agent) {
    let Some(mut bench) = Bench::with(agent) else {
        return;
    };
    bench.idle = "1s";
    let mut session = Session::start(&bench, "Remember the word heron.").await;
    session.ended();
    at_rest(&bench);
    session.prompt("Which word was it?").await;
    session.ended();
    at_rest(&bench);
    let asked = bench.requests();
    let asked = asked
        .iter()
        .map(Value::to_string)
        .rfind(|request| request.contains("Which word"));
    let asked = asked.expect("the model was asked");
    assert!(asked.contains("I remember it."), "{asked}");
    forget(bench.path("home").join(agent.conversations));
    session.prompt("Which word was it again?").await;
    session.ended();
    let asked = bench.requests();
    let asked = asked
        .iter()
        .map(Value::to_string)
        .rfind(|request| request.contains("it again?"));
    let asked = asked.expect("the model was asked");
    let events = session.finish();
    assert!(asked.contains("heron"), "the recap tells it: {asked}");
    let names = ["first turn", "resume", "resume of a lost id"];
    check(&bench, &events, &names, None);
}

const RETRY: &str = "notice warning api_retry";

/// In live form the conversation goes on in the same process, for as long as there is one.
fn at_rest(bench: &Bench) {
    eventually("the process is ended", || bench.strays().is_empty());
}

/// Deletes what a CLI knows of its conversations.
fn forget(folder: PathBuf) {
    assert!(folder.is_dir(), "{} is there", folder.display());
    fs::remove_dir_all(folder).unwrap();
}

fn run(bench: &Bench, prompt: &str, two_rounds: bool) -> Vec<Value> {
    let mut command = bench.agent_command(&["run", prompt], two_rounds);
    Running::start(&mut command).finish().events()
}

/// Compares with what is expected; the first part has the first name, each next prompt the next.
fn check(bench: &Bench, events: &[Value], names: &[&str], printed: Option<BTreeSet<String>>) {
    let agent = bench.agent;
    told::check(bench, events);
    let rules = Rules {
        names,
        cwd: bench.path("here").to_str().unwrap().to_owned(),
        unordered: gaps::has(agent.key, "order"),
        printed,
    };
    let parts = listing::parts(events, rules);
    let mut differences = String::new();
    let compared = |part: &&Part| !gaps::is_left_out(agent.key, &part.name);
    for Part { name, lines, .. } in parts.iter().filter(compared) {
        let (mut lines, expected) = (tries(lines), tries(&expected::lines(name, agent.key)));
        if name.starts_with("cut") && gaps::has(agent.key, "cut-retry") {
            // Claude Code 2.1.197 mostly says nothing of it, and now and then it does.
            lines.retain(|line| !line.contains(RETRY) || expected.contains(line));
        }
        if lines != expected {
            let (lines, expected) = (lines.join("\n"), expected.join("\n"));
            write!(
                differences,
                "\n== {name}, expected\n{expected}\n== {name}, found\n{lines}\n"
            )
            .unwrap();
        }
    }
    let raw = || {
        events
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(
        differences.is_empty(),
        "{}{differences}\nall events:\n{}",
        agent.name,
        raw()
    );
    let seen: BTreeSet<_> = parts.iter().map(|part| part.name.as_str()).collect();
    let all = expected::names();
    let due: Vec<_> = match names {
        ["tour"] => all
            .into_iter()
            .take_while(|name| *name != "large")
            .collect(),
        names => names.to_vec(),
    };
    for name in due.into_iter().filter(|name| !seen.contains(name)) {
        let lines = expected::lines(name, agent.key);
        assert!(
            lines.is_empty(),
            "{}: no part {name}\n{}",
            agent.name,
            raw()
        );
    }
}

/// A text that was cut, once for however often its CLI tried: that is as many as it likes where
/// nobody bounds it.
fn tries(lines: &[String]) -> Vec<String> {
    const CUT: &str = "This answer is cut i";
    let once = |line: &String| {
        let mut line = line.clone();
        while std::env::var_os("CONFORMANCE_FULL_RETRIES").is_some()
            && line.matches(CUT).count() > 2
        {
            line = line.replacen(CUT, "", 1);
        }
        line
    };
    lines.iter().map(once).collect()
}
