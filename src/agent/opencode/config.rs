//! The part of OpenCode's configuration that a turn brings: MCP servers, a system prompt, consent.
//!
//! It is a file that `OPENCODE_CONFIG` names. The project's own configuration and
//! `OPENCODE_CONFIG_CONTENT` are read after it and win, so users' providers and rules stay.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::agent::{LaunchError, Subagent, TurnSpec};

/// An MCP server as Claude Code's files list it.
#[derive(Debug, Deserialize)]
struct Server {
    #[serde(rename = "type")]
    kind: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Map<String, Value>,
    cwd: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    disabled: bool,
    timeout: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Servers {
    #[serde(rename = "mcpServers")]
    servers: Map<String, Value>,
}

/// The configuration that `spec` asks for; `None` when it asks for none.
pub(super) fn config(spec: &TurnSpec) -> Result<Option<Vec<u8>>, LaunchError> {
    let config = parts(spec)?;
    Ok((!config.is_empty()).then(|| Value::Object(config).to_string().into_bytes()))
}

fn parts(spec: &TurnSpec) -> Result<Map<String, Value>, LaunchError> {
    let mut config = Map::new();
    if let Some(text) = &spec.mcp_servers {
        config.insert("mcp".to_owned(), Value::Object(servers(text)?));
    }
    if let Some(file) = &spec.system_prompt_file {
        let pattern = pattern(&file.to_string_lossy());
        config.insert("instructions".to_owned(), json!([pattern]));
    }
    if !spec.subagents.is_empty() {
        let agents = spec.subagents.iter().map(subagent);
        config.insert("agent".to_owned(), Value::Object(agents.collect()));
    }
    if !spec.allowed_tools.is_empty() {
        let rules = permissions(&spec.allowed_tools);
        config.insert("permission".to_owned(), Value::Object(rules));
    }
    Ok(config)
}

/// The plugin's file, beside the configuration.
pub(super) const PLUGIN: &str = "agent-runner.mjs";

/// An agent that tasks can be delegated to, by its name.
fn subagent(agent: &Subagent) -> (String, Value) {
    let mut told = json!({
        "mode": "subagent", "description": agent.description, "prompt": agent.prompt,
    });
    let mut without = Map::new();
    let mut lacks = |tool: &str| drop(without.insert(tool.to_owned(), false.into()));
    if agent.lacks("bash") {
        lacks("bash");
    }
    // To OpenCode both are one permission; whoever writes whole files can change them.
    if agent.lacks("write") {
        lacks("edit");
        lacks("write");
    }
    // Else it would do through others what it is not to do itself.
    if agent.is_restricted() {
        lacks("task");
    }
    let model = agent.model.as_deref().filter(|model| model.contains('/'));
    if let Some(told) = told.as_object_mut() {
        told.extend(model.map(|model| ("model".to_owned(), model.into())));
        if !without.is_empty() {
            told.insert("tools".to_owned(), without.into());
        }
    }
    (agent.name.clone(), told)
}

/// Tools by the names that its rules have for them, and what else its rules are about.
const HELD: &[&str] = &[
    "bash",
    "codesearch",
    "doom_loop",
    "edit",
    "external_directory",
    "glob",
    "grep",
    "list",
    "lsp",
    "plan_enter",
    "plan_exit",
    "question",
    "read",
    "skill",
    "todoread",
    "todowrite",
    "webfetch",
    "websearch",
];

/// What a conversation in live form adds: by itself OpenCode ends the turn at the first call that
/// is refused. Where nobody is asked, what no rule of the user's is about is allowed. Our plugin
/// tells what happens; it takes the variables `unset` away again once it is there.
pub(super) fn live(spec: &TurnSpec, asks: bool, unset: &[&str]) -> Result<Vec<u8>, LaunchError> {
    let mut config = parts(spec)?;
    let on_deny = json!({"continue_loop_on_deny": true});
    config.insert("experimental".to_owned(), on_deny);
    let plugin = json!([format!("./{PLUGIN}"), {"unset": unset}]);
    config.insert("plugin".to_owned(), json!([plugin]));
    if asks {
        config.remove("permission");
        // it is not looked for where the project's configuration is not
        let guide = spec.workspace.join("AGENTS.md");
        let guide = pattern(&guide.to_string_lossy());
        let files = config.entry("instructions").or_insert_with(|| json!([]));
        if let Value::Array(files) = files {
            files.insert(0, guide.into());
        }
    } else {
        let rules = config.entry("permission").or_insert_with(|| json!({}));
        if let Value::Object(rules) = rules {
            rules.insert("*".to_owned(), "allow".into());
        }
    }
    Ok(Value::Object(config).to_string().into_bytes())
}

/// The rules by which every call waits for consent, in the form of `OPENCODE_PERMISSION`, which
/// wins over the rules of all files. Each tool is named, since a rule of a file for one would
/// stand behind the one for all. Sub-agents' requests are sent to nobody: there are none.
pub(super) fn asking(allowed: &[String]) -> String {
    let mut rules = Map::new();
    for name in ["*"].iter().chain(HELD) {
        rules.insert((*name).to_owned(), json!({"*": "ask"}));
    }
    rules.insert("*".to_owned(), "ask".into());
    rules.insert("task".to_owned(), "deny".into());
    for (name, patterns) in permissions(allowed) {
        let of_tool = rules.entry(name).or_insert_with(|| json!({"*": "ask"}));
        if let (Value::Object(of_tool), Value::Object(patterns)) = (of_tool, patterns) {
            of_tool.extend(patterns);
        }
    }
    Value::Object(rules).to_string()
}

/// OpenCode takes the name of an instructions file, not its folder, for a glob.
fn pattern(file: &str) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let mut pattern = format!("{folder}/");
    for letter in name.chars() {
        if matches!(letter, '*' | '?' | '[' | '{' | '(') {
            pattern.extend(['[', letter, ']']);
        } else {
            pattern.push(letter);
        }
    }
    pattern
}

/// `bash` and `bash(git *)` as OpenCode's rules.
fn permissions(tools: &[String]) -> Map<String, Value> {
    let mut rules = Map::new();
    for tool in tools {
        let whole = tool.strip_suffix(')').and_then(|tool| tool.split_once('('));
        let (name, pattern) = whole.unwrap_or((tool, "*"));
        // one consent stands for all tools that change files
        let name = match name {
            "write" | "apply_patch" => "edit",
            name => name,
        };
        let of_tool = rules.entry(name).or_insert_with(|| json!({}));
        if let Value::Object(patterns) = of_tool {
            patterns.insert(pattern.to_owned(), "allow".into());
        }
    }
    rules
}

fn servers(text: &str) -> Result<Map<String, Value>, LaunchError> {
    let listed: Servers = serde_json::from_str(text).map_err(|error| {
        refused(format!(
            "{error}; it must be {{\"mcpServers\": {{\"NAME\": {{\"command\": …}}}}}}"
        ))
    })?;
    let mut servers = Map::new();
    for (name, value) in listed.servers {
        let server: Server = serde_json::from_value(value)
            .map_err(|error| refused(format!("server `{name}`: {error}")))?;
        let server = translated(&name, server)?;
        servers.insert(name, server);
    }
    Ok(servers)
}

fn translated(name: &str, server: Server) -> Result<Value, LaunchError> {
    let mut config = Map::new();
    match (server.kind.as_deref(), server.command, server.url) {
        (None | Some("stdio"), Some(command), None) => {
            let command: Vec<Value> = [command]
                .into_iter()
                .chain(server.args)
                .map(|part| expanded(name, &part))
                .collect::<Result<_, _>>()?;
            config.insert("type".to_owned(), "local".into());
            config.insert("command".to_owned(), command.into());
            if let Some(cwd) = server.cwd {
                config.insert("cwd".to_owned(), expanded(name, &cwd)?);
            }
            if !server.env.is_empty() {
                let environment = texts(name, server.env)?;
                config.insert("environment".to_owned(), environment);
            }
        }
        (None | Some("http" | "sse" | "streamable-http"), None, Some(url)) => {
            config.insert("type".to_owned(), "remote".into());
            config.insert("url".to_owned(), expanded(name, &url)?);
            if !server.headers.is_empty() {
                config.insert("headers".to_owned(), texts(name, server.headers)?);
            }
        }
        _ => {
            return Err(refused(format!(
                "server `{name}`: it needs either a `command` (type `stdio`) or a `url` (type \
                 `http` or `sse`)"
            )));
        }
    }
    if let Some(timeout) = server.timeout {
        config.insert("timeout".to_owned(), timeout.into());
    }
    config.insert("enabled".to_owned(), (!server.disabled).into());
    Ok(Value::Object(config))
}

fn texts(server: &str, values: Map<String, Value>) -> Result<Value, LaunchError> {
    let text = |(key, value): (String, Value)| {
        let value = match value {
            Value::String(text) => expanded(server, &text)?,
            Value::Number(_) | Value::Bool(_) => value.to_string().into(),
            _ => {
                return Err(refused(format!("server `{server}`: `{key}` is no text")));
            }
        };
        Ok((key, value))
    };
    let texts = values.into_iter().map(text);
    texts.collect::<Result<Map<_, _>, _>>().map(Value::Object)
}

/// `${NAME}` stands for a variable of the CLI's environment; OpenCode writes it `{env:NAME}`.
fn expanded(server: &str, text: &str) -> Result<Value, LaunchError> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(refused(format!(
                "server `{server}`: OpenCode cannot expand `${{{name}}}`; write ${{NAME}}, or the \
                 value itself"
            )));
        }
        expanded.push_str(before);
        expanded.push_str("{env:");
        expanded.push_str(name);
        expanded.push('}');
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded.into())
}

fn refused(reason: String) -> LaunchError {
    LaunchError::McpServers { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_listed_in_opencodes_own_form() {
        let text = r#"{"mcpServers":{
            "files":{"command":"npx","args":["-y","srv"],"env":{"TOKEN":"${MY_TOKEN}","N":1}},
            "web":{"type":"http","url":"https://x/mcp","headers":{"Authorization":"Bearer k"}},
            "off":{"command":"a","disabled":true,"timeout":9000}}}"#;
        assert_eq!(
            Value::Object(servers(text).unwrap()),
            json!({
                "files": {"type": "local", "command": ["npx", "-y", "srv"],
                    "environment": {"TOKEN": "{env:MY_TOKEN}", "N": "1"}, "enabled": true},
                "web": {"type": "remote", "url": "https://x/mcp",
                    "headers": {"Authorization": "Bearer k"}, "enabled": true},
                "off": {"type": "local", "command": ["a"], "timeout": 9000, "enabled": false},
            })
        );
    }

    #[test]
    fn a_list_that_cannot_be_used_is_refused_with_what_is_wrong() {
        let error = |text| servers(text).unwrap_err().to_string();
        assert!(error("{}").contains("mcpServers"));
        assert!(error(r#"{"mcpServers":{"a":{}}}"#).contains("server `a`: it needs either"));
        assert!(error(r#"{"mcpServers":{"a":{"command":3}}}"#).contains("server `a`"));
        let default = r#"{"mcpServers":{"a":{"command":"${X:-y}"}}}"#;
        assert!(error(default).contains("cannot expand `${X:-y}`"));
    }

    #[test]
    fn tools_that_need_no_consent_become_rules() {
        let tools = ["bash(git *)", "bash(ls)", "write", "read"].map(str::to_owned);
        assert_eq!(
            Value::Object(permissions(&tools)),
            json!({
                "bash": {"git *": "allow", "ls": "allow"},
                "edit": {"*": "allow"},
                "read": {"*": "allow"},
            })
        );
    }

    #[test]
    fn every_tool_is_asked_for_but_those_that_need_no_consent() {
        let rules: Value = serde_json::from_str(&asking(&["bash(git *)".to_owned()])).unwrap();
        assert_eq!(rules["*"], "ask");
        assert_eq!(rules["bash"], json!({"*": "ask", "git *": "allow"}));
        assert_eq!(rules["edit"], json!({"*": "ask"}));
        assert_eq!(rules["task"], "deny");
    }

    #[test]
    fn a_files_name_is_no_pattern() {
        assert_eq!(pattern("/a[b]/sys*.md"), "/a[b]/sys[*].md");
    }
}
