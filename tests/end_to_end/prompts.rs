//! Prompts of any size and shape reach the model as they were given, and stand in no argv.

use std::fmt::Write as _;

use serde_json::Value;

use crate::bench::{Bench, Model};
use crate::running::made;

const SCRIPT: &str = r#"
[[reply]]
steps = [{ shell = "touch '{{cwd}}/running'; while [ ! -e '{{cwd}}/go' ]; do sleep 0.05; done" }]
[[reply]]
steps = [{ say = "Heard." }]
"#;

/// Runs a prompt from stdin, and asserts that the model got it and that no argv holds any of it.
fn hear(bench: &Bench, model: &Model, words: &[&str], stdin: Option<&str>, prompt: &str) {
    let mut run = bench.start(&mut bench.agent(model, words));
    if let Some(text) = stdin {
        run.write(text);
    }
    run.close_stdin();
    made(&bench.path("here/running"));
    let head = prompt.lines().next().unwrap();
    let head = &head[..head.floor_char_boundary(40)];
    for process in bench.descendants() {
        assert!(!process.arguments.contains(head), "{process:?}");
    }
    bench.file("here/go", "");
    let finished = run.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    let events = finished.events();
    let told = events.iter().find(|event| event["type"] == "prompt");
    assert!(told.unwrap()["text"] == prompt, "the event has the prompt");
    assert!(texts(&model.requests()[0]).any(|text| text == prompt));
}

/// The texts of a request's messages.
fn texts(request: &Value) -> impl Iterator<Item = &str> {
    let messages = request["messages"].as_array().unwrap();
    messages.iter().flat_map(|message| {
        let blocks = message["content"].as_array().into_iter().flatten();
        let whole = message["content"].as_str();
        whole
            .into_iter()
            .chain(blocks.filter_map(|b| b["text"].as_str()))
    })
}

#[test]
fn a_prompt_of_one_mebibyte_on_stdin_reaches_the_model_whole() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let mut prompt = String::new();
    let mut lines = 0..;
    while prompt.len() < 1 << 20 {
        let line = lines.next().unwrap();
        writeln!(prompt, "Line {line} of a long task — \"é\" 🚀").unwrap();
    }
    prompt.push_str("The end.");
    let words = ["run", "--output", "jsonl", "-"];
    hear(&bench, &model, &words, Some(&prompt), &prompt);
}

#[test]
fn a_prompt_of_any_characters_reaches_the_model_as_it_is() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let prompt =
        "--leading dashes, $HOME `id` \\n \"double\" 'single'\n\n\ttab; {{cwd}} %s é 🚀 \u{202e}";
    let prompt = &format!("{prompt}\n-x last line");
    let words = ["run", "--output", "jsonl", "-"];
    hear(&bench, &model, &words, Some(prompt), prompt);
}

#[test]
fn a_task_file_is_read_as_it_is() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let prompt = "-first line of the file\nsecond \"line\" 🚀";
    let file = bench.file("task.md", prompt);
    let words = ["run", "--output", "jsonl", "--task-file", &file];
    hear(&bench, &model, &words, None, prompt);
}
