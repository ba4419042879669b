use serde_json::json;
use uuid::Uuid;

use super::*;

fn toolset(offered: &[&str], usual: Cli) -> Toolset {
    let offered = offered.iter().map(|&name| name.to_owned()).collect();
    Toolset::new(offered, Vec::new(), usual)
}

fn claude() -> Toolset {
    toolset(&["Agent", "Bash", "Read"], Cli::Codex)
}

fn codex() -> Toolset {
    toolset(&["exec_command", "write_stdin", "apply_patch"], Cli::Claude)
}

fn open_code() -> Toolset {
    toolset(&["bash", "edit", "read", "task", "write"], Cli::Pi)
}

fn gemini() -> Toolset {
    toolset(&["read_file", "run_shell_command", "replace"], Cli::Pi)
}

fn pi() -> Toolset {
    toolset(&["read", "bash", "edit", "write"], Cli::Claude)
}

fn shell() -> Tool {
    Tool::Shell {
        command: "ls".to_owned(),
    }
}

fn agent() -> Tool {
    Tool::Agent {
        prompt: "p".to_owned(),
        title: "t".to_owned(),
    }
}

#[test]
fn each_cli_is_known_by_its_tools_and_gets_its_own_names() {
    let name = |toolset: Toolset| toolset.call(&shell()).unwrap().name;
    assert_eq!(name(claude()), "Bash");
    assert_eq!(name(codex()), "exec_command");
    assert_eq!(name(open_code()), "bash");
    assert_eq!(name(gemini()), "run_shell_command");
    assert_eq!(name(pi()), "bash");
    assert_eq!(name(toolset(&[], Cli::Gemini)), "run_shell_command");
}

#[test]
fn arguments_are_named_as_each_cli_has_them() {
    let read = Tool::Read {
        path: "/a b".to_owned(),
    };
    let arguments = |toolset: Toolset| toolset.call(&read).unwrap().arguments();
    assert_eq!(arguments(claude()), json!({"file_path": "/a b"}));
    assert_eq!(arguments(codex())["cmd"], "cat '/a b'");
    assert_eq!(arguments(open_code()), json!({"filePath": "/a b"}));
    assert_eq!(arguments(gemini()), json!({"file_path": "/a b"}));
    assert_eq!(arguments(pi()), json!({"path": "/a b"}));
}

#[test]
fn mcp_tools_have_the_name_that_each_cli_gives_them() {
    let tool = Tool::Mcp {
        server: "s".to_owned(),
        tool: "echo".to_owned(),
        input: json!({}),
    };
    let call = |toolset: Toolset| toolset.call(&tool);
    assert_eq!(call(claude()).unwrap().name, "mcp__s__echo");
    assert_eq!(call(codex()).unwrap().namespace.unwrap(), "mcp__s");
    assert_eq!(call(open_code()).unwrap().name, "s_echo");
    assert_eq!(call(gemini()).unwrap().name, "mcp_s_echo");
    let refusal = call(pi()).unwrap_err().to_string();
    assert!(
        refusal.contains("`mcp`") && refusal.contains("Pi"),
        "{refusal}"
    );
}

#[test]
fn models_that_patch_are_given_patches() {
    let write = Tool::Write {
        path: "/f".to_owned(),
        content: "x\n".to_owned(),
    };
    let gpt = toolset(&["apply_patch", "bash", "task"], Cli::Pi);
    let call = gpt.call(&write).unwrap();
    assert_eq!(call.name, "apply_patch");
    assert!(call.arguments()["patchText"].is_string());
    assert!(matches!(
        codex().call(&write).unwrap().input,
        Input::Text(_)
    ));
}

#[test]
fn in_code_mode_every_tool_is_a_function() {
    let code = toolset(&["functions", "exec", "wait"], Cli::Claude);
    let call = code.call(&shell()).unwrap();
    assert_eq!(call.name, "exec");
    let Input::Text(script) = call.input else {
        panic!("not free text")
    };
    assert!(
        script.contains("await tools.exec_command({\"cmd\":\"ls\""),
        "{script}"
    );
    assert!(code.call(&agent()).is_err());
}

#[test]
fn a_subagent_of_gemini_hands_in_what_it_says_last() {
    let sub = toolset(&["read_file", "complete_task"], Cli::Claude);
    let said = Performance::text(Uuid::nil(), "Done.".to_owned());
    let cast = sub.cast(&said).unwrap();
    let Some(Step::Call(call, _)) = cast.steps.last() else {
        panic!("no call")
    };
    assert_eq!(call.name, "complete_task");
    assert_eq!(call.arguments()["result"]["response"], "Done.");
}
