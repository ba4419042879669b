//! MCP servers, from the common `{"mcpServers": {…}}` to Codex's own form.
//!
//! Secrets do not go into the file: a header's value and a variable that looks like a key travel
//! in the CLI's environment, and the file names them. `${NAME}` in the common form is a variable
//! of the environment; Codex expands nothing by itself, so only whole values can be given so.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::launch::ENV_PASS;
use crate::agent::LaunchError;

/// What the name of a variable with a key in it contains.
const SECRET: &[&str] = &["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    mcp_servers: BTreeMap<String, Server>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(rename = "type")]
    kind: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    url: Option<String>,
    /// How long a call of a tool may take, in milliseconds.
    timeout: Option<u64>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// The servers as Codex's table `mcp_servers`; their secrets go to `env`.
pub(super) fn servers(
    json: &str,
    env: &mut Vec<(OsString, OsString)>,
) -> Result<Table, LaunchError> {
    let config: Config = serde_json::from_str(json)
        .map_err(|error| fault(format!("{error}; the form is {{\"mcpServers\": {{…}}}}")))?;
    let mut table = Table::new();
    for (name, server) in &config.mcp_servers {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || !name.chars().all(is_legal) {
            return Err(fault(format!(
                "codex takes only letters, digits, `-` and `_` in a server's name, not `{name}`"
            )));
        }
        let mut entry = match (&server.command, &server.url) {
            (Some(command), None) => local(name, command, server, env)?,
            (None, Some(url)) => remote(name, url, server, env)?,
            _ => {
                return Err(fault(format!(
                    "the server `{name}` needs either `command` or `url`"
                )));
            }
        };
        if let Some(limit) = server
            .timeout
            .and_then(|ms| i64::try_from(ms.div_ceil(1000)).ok())
        {
            entry.insert("tool_timeout_sec".to_owned(), Value::Integer(limit));
        }
        table.insert(name.clone(), Value::Table(entry));
    }
    Ok(table)
}

fn local(
    name: &str,
    command: &str,
    server: &Server,
    env: &mut Vec<(OsString, OsString)>,
) -> Result<Table, LaunchError> {
    let mut table = Table::new();
    table.insert("command".to_owned(), plain(name, command)?);
    if !server.args.is_empty() {
        let args = server.args.iter().map(|argument| plain(name, argument));
        table.insert(
            "args".to_owned(),
            Value::Array(args.collect::<Result<_, _>>()?),
        );
    }
    if let Some(cwd) = &server.cwd {
        table.insert("cwd".to_owned(), plain(name, cwd)?);
    }
    let mut given = Table::new();
    let mut passed = Vec::new();
    for (variable, value) in &server.env {
        if reference(value) == Some(variable) {
            passed.push(Value::String(variable.clone()));
        } else if SECRET
            .iter()
            .any(|mark| variable.to_uppercase().contains(mark))
        {
            plain(name, value)?;
            if ENV_PASS.contains(&variable.as_str()) {
                return Err(fault(format!(
                    "the server `{name}` has its own {variable}, which codex itself reads: the \
                     server can only be given the same one, as \"${{{variable}}}\""
                )));
            }
            set(variable, value, env)?;
            passed.push(Value::String(variable.clone()));
        } else {
            given.insert(variable.clone(), plain(name, value)?);
        }
    }
    if !given.is_empty() {
        table.insert("env".to_owned(), Value::Table(given));
    }
    if !passed.is_empty() {
        table.insert("env_vars".to_owned(), Value::Array(passed));
    }
    Ok(table)
}

fn remote(
    name: &str,
    url: &str,
    server: &Server,
    env: &mut Vec<(OsString, OsString)>,
) -> Result<Table, LaunchError> {
    if server.kind.as_deref() == Some("sse") {
        return Err(fault(format!(
            "the server `{name}` is of type `sse`, which codex does not speak; use its `http` \
             endpoint"
        )));
    }
    let mut table = Table::new();
    table.insert("url".to_owned(), plain(name, url)?);
    let mut headers = Table::new();
    for (header, value) in &server.headers {
        let bearer = value.strip_prefix("Bearer ").and_then(reference);
        if let (true, Some(variable)) = (header.eq_ignore_ascii_case("authorization"), bearer) {
            table.insert("bearer_token_env_var".to_owned(), variable.into());
            continue;
        }
        let variable = if let Some(variable) = reference(value) {
            variable.to_owned()
        } else {
            plain(name, value)?;
            let variable = format!("CODEX_MCP_TOKEN_{}", env.len());
            set(&variable, value, env)?;
            variable
        };
        headers.insert(header.clone(), Value::String(variable));
    }
    if !headers.is_empty() {
        table.insert("env_http_headers".to_owned(), Value::Table(headers));
    }
    Ok(table)
}

/// `NAME` of `${NAME}`.
fn reference(value: &str) -> Option<&str> {
    let name = value.strip_prefix("${")?.strip_suffix('}')?;
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_legal)).then_some(name)
}

/// A value that is meant as it stands.
fn plain(server: &str, value: &str) -> Result<Value, LaunchError> {
    if value.contains("${") {
        return Err(fault(format!(
            "the server `{server}` has `{value}`: codex expands a variable only as a header's whole \
             value or as the value of a variable of the same name; write it out"
        )));
    }
    Ok(Value::String(value.to_owned()))
}

/// One environment serves all servers.
fn set(
    variable: &str,
    value: &str,
    env: &mut Vec<(OsString, OsString)>,
) -> Result<(), LaunchError> {
    match env.iter().find(|(name, _)| name == variable) {
        Some((_, found)) if found == value => {}
        Some(_) => {
            return Err(fault(format!(
                "two servers want different values of {variable}; codex passes one to both"
            )));
        }
        None => env.push((variable.into(), value.into())),
    }
    Ok(())
}

fn fault(reason: String) -> LaunchError {
    LaunchError::McpServers { reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn translated(
        servers: &serde_json::Value,
    ) -> Result<(String, Vec<(OsString, OsString)>), String> {
        let mut env = Vec::new();
        let json = json!({ "mcpServers": servers }).to_string();
        let table = super::servers(&json, &mut env).map_err(|error| error.to_string())?;
        Ok((table.to_string(), env))
    }

    #[test]
    fn a_local_server_keeps_its_settings_but_for_its_keys() {
        let (toml, env) = translated(&json!({"fs": {
            "command": "mcp-fs",
            "args": ["--root", "/w"],
            "timeout": 90_500,
            "env": {"MODE": "ro", "API_KEY": "k1", "HOST_TOKEN": "${HOST_TOKEN}"},
        }}))
        .unwrap();
        assert_eq!(
            toml,
            "[fs]\nargs = [\"--root\", \"/w\"]\ncommand = \"mcp-fs\"\n\
             env_vars = [\"API_KEY\", \"HOST_TOKEN\"]\ntool_timeout_sec = 91\n\n[fs.env]\nMODE = \"ro\"\n"
        );
        assert_eq!(env, [("API_KEY".into(), "k1".into())]);
    }

    #[test]
    fn a_remote_server_gets_its_headers_from_the_environment() {
        let (toml, env) = translated(&json!({"web": {
            "type": "http",
            "url": "https://example.com/mcp",
            "headers": {"Authorization": "Bearer ${T}", "X-Key": "k2", "X-Other": "${OTHER}"},
        }}))
        .unwrap();
        assert_eq!(
            toml,
            "[web]\nbearer_token_env_var = \"T\"\nurl = \"https://example.com/mcp\"\n\n\
             [web.env_http_headers]\nX-Key = \"CODEX_MCP_TOKEN_0\"\nX-Other = \"OTHER\"\n"
        );
        assert_eq!(env, [("CODEX_MCP_TOKEN_0".into(), "k2".into())]);
    }

    #[test]
    fn what_codex_cannot_take_is_refused_with_a_reason() {
        for (servers, reason) in [
            (json!({"a b": {"command": "x"}}), "not `a b`"),
            (json!({"a": {}}), "needs either"),
            (json!({"a": {"type": "sse", "url": "http://x"}}), "sse"),
            (json!({"a": {"command": "${HOME}/x"}}), "write it out"),
            (json!({"a": {"command": 3}}), "mcpServers"),
            (
                json!({"a": {"command": "x", "env": {"OPENAI_API_KEY": "1"}}}),
                "as \"${OPENAI_API_KEY}\"",
            ),
            (
                json!({"a": {"command": "x", "env": {"KEY": "1"}}, "b": {"command": "x", "env": {"KEY": "2"}}}),
                "different values of KEY",
            ),
        ] {
            let error = translated(&servers).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
