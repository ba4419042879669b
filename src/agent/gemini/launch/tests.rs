//! Plans for what users may ask for.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn with_args(args: &[&str]) -> Result<LaunchPlan, LaunchError> {
    plan(&TurnSpec {
        extra_args: args.iter().map(Into::into).collect(),
        ..TurnSpec::plain()
    })
}

fn settings(spec: &TurnSpec) -> Value {
    let plan = plan(spec).unwrap();
    let (name, content) = &plan.home_files[0];
    assert!(name.ends_with(".gemini/settings.json"));
    serde_json::from_slice(content).unwrap()
}

#[test]
fn a_turn_is_started_as_asked() {
    let plan = plan(&TurnSpec {
        agent_session: AgentSession::Resume("an-id".to_owned()),
        model: Some("gemini-3-pro-preview".to_owned()),
        allowed_tools: vec![
            "run_shell_command(git \"x\")".to_owned(),
            "replace".to_owned(),
        ],
        extra_args: vec!["--include-directories".into(), "/data".into()],
        ..TurnSpec::plain()
    })
    .unwrap();
    let home = plan.env.iter().find(|(name, _)| name == "GEMINI_CLI_HOME");
    let home = home.unwrap().1.to_str().unwrap();
    assert!(home.starts_with("/home/agent/.cache/agent-runner/gemini-"));
    let args: Vec<_> = plan.args.iter().map(|a| a.to_str().unwrap()).collect();
    assert_eq!(
        args,
        [
            "--output-format=stream-json",
            "--approval-mode=yolo",
            "--resume=an-id",
            "--model=gemini-3-pro-preview",
            &format!("--policy={home}/allowed-tools.toml"),
            "--include-directories",
            "/data",
        ]
    );
    let policy = String::from_utf8(plan.home_files[1].1.clone()).unwrap();
    assert_eq!(
        policy,
        "[[rule]]\ntoolName = \"run_shell_command\"\ncommandPrefix = \"git \\\"x\\\"\"\n\
         decision = \"allow\"\npriority = 100\n[[rule]]\ntoolName = \"replace\"\n\
         decision = \"allow\"\npriority = 100\n"
    );
}

#[test]
fn a_home_is_shared_by_turns_with_the_same_options_only() {
    let home = |spec: &TurnSpec| plan(spec).unwrap().home_links[0].place.clone();
    let asked = TurnSpec {
        system_prompt: Some("be brief".to_owned()),
        ..TurnSpec::plain()
    };
    assert_eq!(home(&TurnSpec::plain()), home(&TurnSpec::plain()));
    assert_ne!(home(&TurnSpec::plain()), home(&asked));
    let links = plan(&asked).unwrap().home_links;
    let conversations = links
        .iter()
        .find(|link| link.place.ends_with(".gemini/tmp"));
    let conversations = conversations.unwrap();
    assert_eq!(
        conversations.target,
        PathBuf::from("/home/agent/.gemini/tmp")
    );
    assert!(conversations.is_folder);
}

#[test]
fn what_was_asked_for_lies_over_the_users_own_settings() {
    let own = json!({
        "general": {"vimMode": true, "enableAutoUpdate": true},
        "context": {"fileName": "AGENTS.md"},
        "mcpServers": {"own": {"command": "x"}},
        "modelConfigs": {"customOverrides": [{"match": {"model": "m"}}]},
    });
    let settings = settings(&TurnSpec {
        settings: Some(own.to_string()),
        system_prompt: Some("be brief".to_owned()),
        effort: Some("low".to_owned()),
        model: Some("gemini-3.8-flash".to_owned()),
        mcp_servers: Some(
            json!({"mcpServers": {
                "files": {"type": "stdio", "command": "serve", "args": ["-v"], "env": {"A": "b"}},
                "web": {"type": "http", "url": "http://127.0.0.1:1/mcp", "headers": {"X": "y"}},
            }})
            .to_string(),
        ),
        ..TurnSpec::plain()
    });
    assert_eq!(
        settings["general"],
        json!({
            "vimMode": true, "enableAutoUpdate": false, "enableAutoUpdateNotification": false,
            "sessionRetention": {"enabled": false},
        })
    );
    assert_eq!(settings["privacy"]["usageStatisticsEnabled"], false);
    assert_eq!(
        settings["context"]["fileName"],
        json!(["AGENTS.md", "agent-runner-system.md"])
    );
    assert_eq!(
        settings["mcpServers"],
        json!({
            "own": {"command": "x"},
            "files": {"command": "serve", "args": ["-v"], "env": {"A": "b"}},
            "web": {"type": "http", "url": "http://127.0.0.1:1/mcp", "headers": {"X": "y"}},
        })
    );
    let rules = settings["modelConfigs"]["customOverrides"]
        .as_array()
        .unwrap();
    assert_eq!(rules.len(), 4);
    let thinking =
        |rule: &Value| rule["modelConfig"]["generateContentConfig"]["thinkingConfig"].clone();
    assert_eq!(thinking(&rules[1]), json!({"thinkingBudget": 1024}));
    assert_eq!(rules[3]["match"]["model"], "gemini-3.8-flash");
    assert_eq!(thinking(&rules[3]), json!({"thinkingLevel": "LOW"}));
}

#[test]
fn another_endpoint_needs_a_named_login_unless_there_is_one() {
    let method = |variables: &[&str], own: Option<&str>| {
        let settings = settings(&TurnSpec {
            variables: variables.iter().map(|name| (*name).to_owned()).collect(),
            settings: own.map(str::to_owned),
            ..TurnSpec::plain()
        });
        settings["security"]["auth"]["selectedType"].clone()
    };
    assert_eq!(method(&["GEMINI_API_KEY"], None), Value::Null);
    assert_eq!(method(&["GOOGLE_GEMINI_BASE_URL"], None), "gemini-api-key");
    assert_eq!(
        method(
            &["GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_USE_VERTEXAI"],
            None
        ),
        Value::Null
    );
    let own = r#"{"security": {"auth": {"selectedType": "oauth-personal"}}}"#;
    assert_eq!(
        method(&["GOOGLE_GEMINI_BASE_URL"], Some(own)),
        "oauth-personal"
    );
}

#[test]
fn flags_that_the_runner_owns_are_refused_by_name() {
    for flag in [
        "--model=x",
        "-mx",
        "-p",
        "-ym",
        "--outputFormat=text",
        "--no-yolo",
        "--approval-mode=plan",
        "-r=1",
        "--allowed-tools",
        "--acp",
    ] {
        let error = with_args(&[flag]).unwrap_err();
        assert!(
            matches!(error, LaunchError::OwnedFlag { .. }),
            "{flag}: {error}"
        );
    }
}

#[test]
fn nothing_can_be_slipped_in_as_the_prompt() {
    for args in [["--", "x"], ["do this", ""], ["--debug", "x"]] {
        let error = with_args(&args).unwrap_err();
        assert!(
            matches!(error, LaunchError::Positional { .. }),
            "{args:?}: {error}"
        );
    }
    assert!(with_args(&["--extensions", "none", "--debug"]).is_ok());
}

#[test]
fn what_cannot_be_used_is_told() {
    let told = |spec: TurnSpec| plan(&spec).unwrap_err().to_string();
    let effort = TurnSpec {
        effort: Some("huge".to_owned()),
        ..TurnSpec::plain()
    };
    assert!(told(effort).contains("minimal, low, medium, high"));
    for list in ["nonsense", "{}", r#"{"mcpServers": {"x": 1}}"#] {
        let servers = TurnSpec {
            mcp_servers: Some(list.to_owned()),
            ..TurnSpec::plain()
        };
        assert!(told(servers).contains("`--mcp-config`"), "{list}");
    }
    let commented = TurnSpec {
        settings: Some("{} // mine".to_owned()),
        ..TurnSpec::plain()
    };
    assert!(told(commented).starts_with("/home/agent/.gemini/settings.json: "));
}
