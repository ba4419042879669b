//! Rules as people write them, and requests as agents make them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{CommandPattern, HostPattern, PathPattern, WordPattern};

fn rule(tool: Option<&str>, about: About) -> ApprovalRule {
    ApprovalRule {
        tool: tool.map(|tool| WordPattern::parse(tool).unwrap()),
        about,
        message: None,
        text: String::new(),
    }
}

fn tool(name: &str) -> ApprovalRule {
    rule(Some(name), About::Tool)
}

fn command(pattern: &str) -> ApprovalRule {
    rule(
        None,
        About::Command(vec![CommandPattern::parse(pattern).unwrap()]),
    )
}

fn path(tool: Option<&str>, pattern: &str) -> ApprovalRule {
    rule(
        tool,
        About::Path(vec![PathPattern::parse(pattern).unwrap()]),
    )
}

fn host(pattern: &str) -> ApprovalRule {
    rule(
        None,
        About::Host(vec![HostPattern::parse(pattern).unwrap()]),
    )
}

fn approval(allow: Vec<ApprovalRule>, deny: Vec<ApprovalRule>, otherwise: Otherwise) -> Approval {
    let config = ApprovalConfig {
        mode: Approve::Policy,
        otherwise,
        timeout: None,
        allow,
        deny,
    };
    Approval::new(&config, Path::new("/w"))
}

fn decide(approval: &Approval, tool: &str, input: Value) -> &'static str {
    let asked = Asked {
        request_id: "1".to_owned(),
        call_id: None,
        tool: tool.to_owned(),
        input,
    };
    match approval.decide(&asked) {
        Ruling::Allow => "allow",
        Ruling::Deny { .. } => "deny",
        Ruling::Ask => "ask",
    }
}

fn shell(approval: &Approval, command: &str) -> &'static str {
    decide(approval, "shell", json!({ "command": command }))
}

#[test]
fn a_command_is_permitted_only_as_a_whole() {
    let rules = approval(
        vec![command("git status *"), command("cargo test *")],
        vec![],
        Otherwise::Ask,
    );
    for text in [
        "git status",
        "git status -s",
        "git status && cargo test --lib 2>&1",
    ] {
        assert_eq!(shell(&rules, text), "allow", "{text}");
    }
    for text in [
        "git status; rm -rf /",
        "git status\nrm -rf /",
        "git status | sh",
        "git status & rm x",
        "git status $(rm x)",
        "git status `rm x`",
        "git status > /etc/passwd",
        "git statusx",
        "PAGER=rm git status",
        "/tmp/git status",
        "cargo test || rm x",
        "rm x",
        "",
    ] {
        assert_eq!(shell(&rules, text), "ask", "{text}");
    }
}

#[test]
fn a_command_is_denied_by_any_part_of_it_whatever_permits_the_rest() {
    let rules = approval(vec![tool("shell")], vec![command("rm *")], Otherwise::Allow);
    for text in [
        "rm x",
        "git status; rm -rf /",
        "ls | xargs rm",
        "sudo rm x",
        "/bin/rm x",
        "r\"m\" x",
        "bash -c 'rm x'",
        "echo $(rm x)",
        "if true; then rm x; fi",
        "git status\nrm x",
        "A=1 rm x",
        "echo `rm x`",
        "(rm x)",
        "{ rm x; }",
        "eval 'rm x'",
    ] {
        assert_eq!(shell(&rules, text), "deny", "{text}");
    }
    for text in [
        "ls",
        "git rm x",
        "echo 'rm x'",
        "git commit -m 'rm x; rm y'",
    ] {
        assert_eq!(shell(&rules, text), "allow", "{text}");
    }
    // what cannot be read might be anything
    for text in ["$X y", "echo \"$(date)\"", "{echo,a}", "ls > out"] {
        assert_eq!(shell(&rules, text), "ask", "{text}");
    }
}

#[test]
fn a_script_that_cannot_be_read_is_no_matter_where_no_rule_about_commands_denies() {
    let rules = approval(vec![tool("shell")], vec![tool("web*")], Otherwise::Ask);
    assert_eq!(shell(&rules, "for i in *; do echo $i; done"), "allow");
    let otherwise = approval(vec![command("ls")], vec![], Otherwise::Allow);
    assert_eq!(shell(&otherwise, "echo $(date)"), "allow");
    let strict = approval(vec![command("ls")], vec![], Otherwise::Deny);
    assert_eq!(shell(&strict, "echo $(date)"), "deny");
}

#[test]
fn files_are_permitted_where_they_are_and_not_where_they_seem_to_be() {
    let rules = approval(vec![path(Some("edit"), "src/**")], vec![], Otherwise::Ask);
    let edit = |file: &str| decide(&rules, "edit", json!({ "file_path": file }));
    for file in ["src/a.rs", "/w/src/a/b.rs", "./src/../src/a"] {
        assert_eq!(edit(file), "allow", "{file}");
    }
    for file in [
        "a.rs",
        "/src/a.rs",
        "src/../a.rs",
        "../w2/src/a",
        "/w/src/../../etc/passwd",
    ] {
        assert_eq!(edit(file), "ask", "{file}");
    }
    assert_eq!(
        decide(&rules, "write", json!({"file_path": "src/a"})),
        "ask"
    );
    assert_eq!(decide(&rules, "edit", json!({})), "ask");
    let moved = json!({"file_path": "src/a", "move_path": "/etc/a"});
    assert_eq!(decide(&rules, "edit", moved), "ask");
    let many = json!({"file_paths": ["src/a", "b"]});
    assert_eq!(decide(&rules, "edit", many), "ask");
}

#[test]
fn a_denied_file_is_denied_however_it_is_named_and_by_whatever_tool() {
    let rules = approval(
        vec![tool("*")],
        vec![path(None, "**/.env"), path(None, "/etc/**")],
        Otherwise::Allow,
    );
    for (name, input) in [
        ("read", json!({"file_path": "/w/.env"})),
        ("read", json!({"file_path": "a/../.env"})),
        ("write", json!({"file_path": "sub/.env", "content": ""})),
        ("read", json!({"file_path": ".env", "command": "cat .env"})),
        ("read", json!({"file_path": "../etc/passwd"})),
        ("edit", json!({"file_path": "passwd", "cwd": "/etc"})),
        ("edit", json!({"file_path": "a", "move_path": ".env"})),
        ("mcp__files__read", json!({"path": ".env"})),
        ("grep", json!({"pattern": "x", "path": "/etc"})),
    ] {
        assert_eq!(
            decide(&rules, name, input.clone()),
            "deny",
            "{name} {input}"
        );
    }
    assert_eq!(
        decide(&rules, "read", json!({"file_path": "a.rs"})),
        "allow"
    );
    assert_eq!(decide(&rules, "mcp__x__y", json!({"n": 1})), "allow");
    // it does not say which files it changes
    assert_eq!(
        decide(&rules, "apply_patch", json!({"patchText": "…"})),
        "ask"
    );
}

#[test]
fn a_search_is_where_its_pattern_looks() {
    let rules = approval(
        vec![path(Some("glob"), "src/**")],
        vec![path(None, "/etc/**")],
        Otherwise::Ask,
    );
    let glob = |pattern: &str, folder: &str| {
        decide(&rules, "glob", json!({"pattern": pattern, "path": folder}))
    };
    assert_eq!(glob("**/*.rs", "src"), "allow");
    assert_eq!(glob("a/*.rs", "src"), "allow");
    assert_eq!(glob("../*.rs", "src"), "ask");
    assert_eq!(glob("a/*/../../../x/*", "src"), "ask");
    assert_eq!(glob("/home/*", "src"), "ask");
    assert_eq!(glob("/etc/pass*", "src"), "deny");
    assert_eq!(decide(&rules, "glob", json!({"pattern": "*"})), "ask");
}

#[test]
fn hosts_are_those_of_the_address_and_not_of_what_is_written_in_it() {
    let rules = approval(
        vec![host("docs.rs"), host("*.example.com")],
        vec![],
        Otherwise::Ask,
    );
    let fetch = |url: &str| decide(&rules, "WebFetch", json!({"url": url, "prompt": "p"}));
    assert_eq!(fetch("https://docs.rs/serde"), "allow");
    assert_eq!(fetch("https://a.example.com:8443/"), "allow");
    for url in [
        "https://docs.rs@evil.com/",
        "https://evil.com/docs.rs",
        "https://evil.com#docs.rs",
        "https://docs.rs.evil.com",
        "https://example.com",
        "docs.rs",
        "https://evil.com\\@docs.rs",
    ] {
        assert_eq!(fetch(url), "ask", "{url}");
    }
    let rules = approval(vec![tool("*")], vec![host("evil.com")], Otherwise::Allow);
    for input in [
        json!({"url": "https://EVIL.com/x"}),
        json!({"prompt": "read http://a.b and https://u@evil.com:1/."}),
        json!({"urls": [{"u": "https://evil.com"}]}),
    ] {
        assert_eq!(
            decide(&rules, "web_fetch", input.clone()),
            "deny",
            "{input}"
        );
    }
}

#[test]
fn commands_of_codex_that_read_answer_to_rules_for_files_and_for_the_shell() {
    let read = json!({"file_path": "src/a", "command": "cat src/a"});
    let one = |allow| {
        decide(
            &approval(vec![allow], vec![], Otherwise::Ask),
            "read",
            read.clone(),
        )
    };
    assert_eq!(one(path(None, "src/*")), "allow");
    assert_eq!(one(command("cat *")), "allow");
    assert_eq!(one(tool("shell")), "allow");
    assert_eq!(one(command("ls *")), "ask");
    // an MCP tool's `command` is no shell's
    let rules = approval(vec![command("*")], vec![], Otherwise::Ask);
    assert_eq!(
        decide(&rules, "mcp__x__run", json!({"command": "ls"})),
        "ask"
    );
}

#[test]
fn a_question_waits_for_its_answer_unless_nobody_is_asked() {
    let ask = |approval: &Approval| decide(approval, "AskUserQuestion", json!({}));
    assert_eq!(
        ask(&approval(vec![tool("*")], vec![], Otherwise::Allow)),
        "ask"
    );
    assert_eq!(
        ask(&approval(vec![tool("*")], vec![], Otherwise::Deny)),
        "deny"
    );
    assert_eq!(
        ask(&approval(vec![], vec![tool("Ask*")], Otherwise::Allow)),
        "deny"
    );
    let auto = approval(vec![], vec![], Otherwise::Ask);
    auto.set_mode(Some(Approve::Auto));
    assert_eq!(ask(&auto), "deny");
    assert_eq!(shell(&auto, "ls"), "allow");
    auto.set_mode(Some(Approve::Ask));
    assert_eq!(ask(&auto), "ask");
    assert_eq!(shell(&auto, "ls"), "ask");
}

#[test]
fn the_agent_is_told_what_the_rule_says() {
    let mut rule = command("git push *");
    rule.message = Some("Leave pushing to the maintainers.".to_owned());
    let rules = approval(vec![], vec![rule], Otherwise::Ask);
    let asked = Asked {
        request_id: "1".to_owned(),
        call_id: None,
        tool: "shell".to_owned(),
        input: json!({"command": "git push origin"}),
    };
    let message = "Leave pushing to the maintainers.".to_owned();
    assert_eq!(rules.decide(&asked), Ruling::Deny { message });
}

proptest! {
    /// What is permitted is run by a real shell, which must come to run nothing else by it.
    #[test]
    fn nothing_rides_along_with_a_permitted_command(parts in tokens()) {
        let rules = approval(vec![command("ok *")], vec![], Otherwise::Ask);
        let script = parts.concat();
        if shell(&rules, &script) == "allow" {
            prop_assert!(!runs_bad(&script), "{:?}", script);
        }
    }

    /// What a real shell comes to run of a denied command is found.
    #[test]
    fn no_denied_command_is_run(parts in tokens()) {
        let rules = approval(vec![tool("*")], vec![command("bad *")], Otherwise::Allow);
        let script = parts.concat();
        if shell(&rules, &script) == "allow" {
            prop_assert!(!runs_bad(&script), "{:?}", script);
        }
    }

    /// A command that bash runs by itself is denied also among anything else.
    #[test]
    fn a_denied_command_is_found_among_others(
        before in "(ls|echo a|git log -1|X=1 ls)?", operator in "(;|&&|\\|\\||\\||&|\n)",
        carrier in "(sudo |env |nohup |/bin/|)", after in "(; ls| && ls x| \\| cat|\nls|)"
    ) {
        let rules = approval(vec![tool("*")], vec![command("rm *")], Otherwise::Allow);
        let text = format!("{before} {operator} {carrier}rm -rf x{after}");
        prop_assert_eq!(shell(&rules, &text), "deny");
    }

    #[test]
    fn any_input_gets_a_ruling(tool in "[a-z_]{1,12}", text in any::<String>()) {
        let rules = approval(
            vec![command("ls *"), path(None, "**"), host("*.a")],
            vec![command("rm *"), path(None, "/x/**"), host("b.c")],
            Otherwise::Ask,
        );
        let input = json!({"command": text, "file_path": text, "url": text});
        decide(&rules, &tool, input.clone());
        decide(&rules, "shell", input);
    }
}

/// Pieces of scripts, good and bad.
fn tokens() -> impl Strategy<Value = Vec<&'static str>> {
    let pieces = vec![
        "ok",
        "ok",
        "ok ",
        "bad",
        "bad",
        " ",
        " ",
        "\n",
        ";",
        "&",
        "&&",
        "|",
        "||",
        "|&",
        "(",
        ")",
        "$(",
        "`",
        "'",
        "'",
        "\"",
        "\"",
        "\\",
        "{",
        "}",
        "<",
        ">",
        "<(",
        "2>&1",
        ">/dev/null",
        "#",
        "!",
        "x",
        "-c ",
        "X=1 ",
        "{bad,x}",
        "b?d",
        "bash ",
        "env ",
        "eval ",
        "exec ",
        "time ",
        "if ",
        "then ",
        "fi",
        "\t",
        "$'\\n'",
        "\r",
        "~",
        "=",
        "[",
        "*",
    ];
    prop::collection::vec(prop::sample::select(pieces), 1..12)
}

/// Whether bash, given the script, runs the program `bad`.
fn runs_bad(script: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, text) in [
        ("ok", "#!/bin/sh\n"),
        ("bad", "#!/bin/sh\n: > \"$0.ran\"\n"),
    ] {
        let path = bin.join(name);
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    for program in ["bash", "env"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), bin.join(program)).unwrap();
    }
    let status = std::process::Command::new("/bin/bash")
        .args(["-c", script])
        .env_clear()
        .env("PATH", &bin)
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.unwrap();
    bin.join("bad.ran").exists()
}
