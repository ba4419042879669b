use super::*;

fn fault(text: &str) -> String {
    Script::parse("a.toml", text).unwrap_err().to_string()
}

fn only_reply(text: &str) -> Reply {
    let script = Script::parse("a.toml", text).unwrap();
    script.scenarios[0].replies[0].clone()
}

#[test]
fn the_built_in_and_the_demo_script_are_valid() {
    assert_eq!(Script::built_in().scenarios.len(), 1);
    let demo = include_str!("../../../scripts/demo-data/fix-test.toml");
    let demo = Script::parse("fix-test.toml", demo).unwrap();
    assert_eq!(demo.scenarios[0].replies.len(), 5);
}

#[test]
fn every_kind_of_step_is_read() {
    let reply = only_reply(
        r#"
        [[reply]]
        delay_ms = 5
        stop = "max_tokens"
        usage = { input = 1, output = 2, cache_read = 3, cache_write = 4 }
        steps = [
          { say = "hi", chunk = 2, pause_ms = 7 },
          { think = "hm" },
          { wait_ms = 9 },
          { shell = "ls" },
          { read = "a" },
          { write = "b", content = "c" },
          { edit = "d", old = "e", new = "f" },
          { fetch = "http://127.0.0.1/" },
          { agent = "look", title = "Look" },
          { tool = "Glob", input = { pattern = "*", deep = { list = [1, 2.5, true] } } },
        ]
        "#,
    );
    let pace = Pace {
        chunk: NonZeroUsize::new(2),
        pause: Duration::from_millis(7),
    };
    assert_eq!(reply.delay, Duration::from_millis(5));
    assert_eq!(reply.stop, Some(Stop::MaxTokens));
    assert_eq!(reply.usage.cache_write, 4);
    assert_eq!(reply.steps.len(), 10);
    assert_eq!(reply.steps[0], Step::Say("hi".to_owned(), pace));
    assert_eq!(reply.steps[2], Step::Wait(Duration::from_millis(9)));
    let input = serde_json::json!({"pattern": "*", "deep": {"list": [1, 2.5, true]}});
    let name = "Glob".to_owned();
    let native = Step::Call(Tool::Native { name, input }, Pace::default());
    assert_eq!(reply.steps[9], native);
}

#[test]
fn failures_and_cuts_are_read() {
    let reply = only_reply(
        "[[reply]]\nfail = { status = 429, retry_after = 3, times = 2 }\ncut = { after = 4, how = \"end\" }\nsteps = []\n",
    );
    let failure = reply.failure.unwrap();
    let limited = FailureKind::Status {
        status: 429,
        name: None,
    };
    assert_eq!((&failure.kind, failure.retry_after), (&limited, Some(3)));
    assert_eq!(failure.times, NonZeroU32::new(2));
    let cut = Cut {
        after: 4,
        how: CutKind::End,
        times: None,
    };
    assert_eq!(reply.cut, Some(cut));
}

#[test]
fn an_unknown_key_is_reported_with_its_line_and_the_nearest_known_key() {
    let text = "[[reply]]\nsteps = [\n  { say = \"a\" },\n  { shel = \"ls\" },\n]\n";
    let expected = "a.toml:4: unknown key `shel` in a step; did you mean `shell`?";
    assert_eq!(fault(text), expected);
    let text = "[[scenario]]\nmtach = \"x\"\n";
    let expected = "a.toml:2: unknown key `mtach` in a scenario; did you mean `match`?";
    assert_eq!(fault(text), expected);
    let far = fault("[[reply]]\nsteps = []\nusage = { prompt = 1 }\n");
    assert!(far.ends_with("known here: input, output, reasoning, cache_read, cache_write"));
}

#[test]
fn text_that_is_not_toml_is_reported_with_its_line() {
    let error = fault("[[reply]]\nsteps = [ oops\n");
    assert!(error.starts_with("a.toml:2: not TOML: "), "{error}");
}

#[test]
fn what_would_never_be_played_is_refused() {
    for (text, expected) in [
        ("", "a.toml:1: the script is empty"),
        (
            "[[scenario]]\nmatch = \"x\"\n",
            "a.toml:1: a scenario needs",
        ),
        (
            "[[reply]]\nstop = \"refusal\"\n",
            "a.toml:1: a reply needs `steps`",
        ),
        (
            "[[reply]]\nfail = { status = 500 }\nsteps = []\n",
            "a.toml:3: these steps would never be played",
        ),
        (
            "[[scenario]]\nreply = [{ steps = [] }]\n[[scenario]]\nreply = [{ steps = [] }]\n",
            "a.toml:3: a second scenario without `match`",
        ),
        (
            "[[reply]]\nsteps = []\n[[scenario]]\nreply = [{ steps = [] }]\n",
            "a.toml:1: top-level replies and a scenario",
        ),
        (
            "[[scenario]]\nmatch = \"\"\nreply = []\n",
            "a.toml:2: `match` is empty",
        ),
    ] {
        let error = fault(text);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn wrong_values_are_refused_where_they_stand() {
    for (reply, expected) in [
        ("steps = 1", "`steps` must be a list, not this integer"),
        ("steps = [1]", "`a step` must be a table"),
        ("steps = [{ say = 1 }]", "`say` must be a string"),
        ("steps = [{}]", "a step has exactly one of say, think"),
        (
            "steps = [{ say = \"\", shell = \"\" }]",
            "a step has exactly one",
        ),
        (
            "steps = [{ say = \"\", content = \"\" }]",
            "`content` does not belong",
        ),
        ("steps = [{ write = \"a\" }]", "`content` is missing"),
        (
            "steps = [{ tool = \"a\", input = 1 }]",
            "`input` must be a table",
        ),
        (
            "steps = [{ say = \"a\", chunk = 0 }]",
            "`chunk` is at least 1",
        ),
        (
            "steps = []\ndelay_ms = -1",
            "`delay_ms` must be a whole number",
        ),
        ("steps = []\nstop = \"end\"", "`stop` is end_turn"),
        ("fail = { status = 200 }", "`fail` needs a `status`"),
        (
            "fail = { status = 500, times = 0 }",
            "`times` is at least 1",
        ),
        ("steps = []\ncut = { how = \"x\" }", "`how` is reset"),
    ] {
        let error = fault(&format!("[[reply]]\n{reply}\n"));
        assert!(error.contains(expected), "{reply}: {error}");
        let line = 1 + reply.lines().count();
        assert!(error.starts_with(&format!("a.toml:{line}: ")), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Script::load(Path::new("/nonexistent/a.toml")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/a.toml"));
}

#[test]
fn a_failure_by_its_cause_has_no_status_of_its_own() {
    let script = "[[reply]]\nfail = { cause = \"quota\" }\n";
    let script = Script::parse("s", script).unwrap();
    let failure = script.scenarios[0].replies[0].failure.clone();
    assert_eq!(failure.unwrap().kind, FailureKind::Cause(Cause::Quota));
    for (fail, wanted) in [
        (
            "cause = \"quota\", status = 429",
            "`status` follows from `cause`",
        ),
        ("cause = \"hunger\"", "not `hunger`"),
        ("times = 1", "or a `cause`"),
    ] {
        let text = format!("[[reply]]\nfail = {{ {fail} }}\n");
        let error = Script::parse("s", &text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn an_mcp_tool_is_named_with_its_server() {
    let text = "[[reply]]\nsteps = [{ mcp = \"s/echo\", input = { a = 1 } }]\n";
    let script = Script::parse("s", text).unwrap();
    let tool = Tool::Mcp {
        server: "s".to_owned(),
        tool: "echo".to_owned(),
        input: serde_json::json!({"a": 1}),
    };
    let steps = &script.scenarios[0].replies[0].steps;
    assert_eq!(*steps, [Step::Call(tool, Pace::default())]);
    let error = Script::parse("s", "[[reply]]\nsteps = [{ mcp = \"echo\" }]\n").unwrap_err();
    assert!(error.to_string().contains("server/tool"), "{error}");
}
