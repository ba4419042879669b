//! How one turn of Pi 0.74.2 is started in exec form.

use std::ffi::OsString;

use crate::agent::args::Flags;
use crate::agent::{AgentSession, LaunchError, LaunchPlan, TurnSpec};

const FLAGS: Flags = Flags {
    owned: &[
        (
            &["--mode", "-p", "--print", "--export"],
            "it cannot be changed",
        ),
        (
            &[
                "-c",
                "--continue",
                "-r",
                "--resume",
                "--session",
                "--fork",
                "--session-dir",
                "--no-session",
            ],
            "conversations follow the session's turns",
        ),
        (&["--model", "--models"], "use `--model PROVIDER/MODEL`"),
        (&["--thinking"], "use `--effort`"),
        (&["--append-system-prompt"], "use `--system-prompt-file`"),
        (
            &["--api-key"],
            "arguments can be read by every user of the machine: set the provider's variable",
        ),
        (
            &["-h", "--help", "-v", "--version", "--list-models"],
            "it ends the CLI at once: call it directly",
        ),
    ],
    valued: &[
        "--provider",
        "--system-prompt",
        "-t",
        "--tools",
        "-e",
        "--extension",
        "--skill",
        "--prompt-template",
        "--theme",
    ],
};

const EFFORTS: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh"];
const EFFORT_NAMES: &str = "off, minimal, low, medium, high, xhigh";

/// The providers' keys. Not `PI_CODING_AGENT_*`, which would override the home.
const ENV_PASS: &[&str] = &[
    "AI_GATEWAY_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_OAUTH_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_REGION",
    "AZURE_OPENAI_*",
    "CEREBRAS_API_KEY",
    "CLOUDFLARE_*",
    "DEEPSEEK_API_KEY",
    "FIREWORKS_API_KEY",
    "GEMINI_API_KEY",
    "GROQ_API_KEY",
    "KIMI_API_KEY",
    "MINIMAX_API_KEY",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "OPENAI_API_KEY",
    "OPENCODE_API_KEY",
    "OPENROUTER_API_KEY",
    "PI_CACHE_RETENTION",
    "PI_OFFLINE",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
    "XIAOMI_*",
    "ZAI_API_KEY",
];

/// The plan for one turn.
pub(super) fn plan(spec: &TurnSpec) -> Result<LaunchPlan, LaunchError> {
    // It knows flags as whole words only.
    FLAGS.check_by(&spec.extra_args, |owned, given| owned.contains(&given))?;
    if spec.mcp_config.is_some() {
        return Err(LaunchError::McpServers {
            reason: "Pi has no MCP; leave the option out, or load a Pi extension with \
                     `--agent-arg --extension --agent-arg FILE`"
                .to_owned(),
        });
    }
    let mut args: Vec<OsString> = vec!["--mode".into(), "json".into()];
    let mut value = |flag: &str, value: OsString| args.extend([flag.into(), value]);
    // a new conversation's id is Pi's own choice
    if let AgentSession::Resume(id) = &spec.agent_session {
        value("--session", id.into());
    }
    if let Some(model) = &spec.model {
        value("--model", model.into());
    }
    if let Some(effort) = &spec.effort {
        if !EFFORTS.contains(&effort.as_str()) {
            return Err(LaunchError::Effort {
                effort: effort.clone(),
                known: EFFORT_NAMES,
            });
        }
        value("--thinking", effort.into());
    }
    if let Some(file) = &spec.system_prompt_file {
        value("--append-system-prompt", file.into());
    }
    args.extend(spec.extra_args.iter().cloned());
    Ok(LaunchPlan {
        command: "pi",
        args,
        env: vec![
            ("HOME".into(), spec.home.clone().into()),
            ("PI_SKIP_VERSION_CHECK".into(), "1".into()),
            ("PI_TELEMETRY".into(), "0".into()),
        ],
        files: Vec::new(),
        home_files: Vec::new(),
        home_links: Vec::new(),
        home_rename: None,
        home_locks: None,
        home_defaults: Vec::new(),
        env_fallback: Vec::new(),
        env_pass: ENV_PASS,
    })
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_turn_is_started_as_asked() {
        let plan = plan(&TurnSpec {
            agent_session: AgentSession::Resume("an-id".to_owned()),
            model: Some("openai/gpt-4o".to_owned()),
            effort: Some("low".to_owned()),
            system_prompt_file: Some("/run/system.md".into()),
            extra_args: vec!["--tools".into(), "read,grep".into()],
            ..TurnSpec::plain()
        })
        .unwrap();
        let args: Vec<_> = plan.args.iter().map(|a| a.to_str().unwrap()).collect();
        let expected = "--mode json --session an-id --model openai/gpt-4o --thinking low \
            --append-system-prompt /run/system.md --tools read,grep";
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |args: &[&str]| {
            let spec = TurnSpec {
                extra_args: args.iter().map(Into::into).collect(),
                ..TurnSpec::plain()
            };
            plan(&spec).unwrap_err().to_string()
        };
        assert!(refused(&["--api-key"]).contains("runner sets"));
        assert!(refused(&["--session", "x"]).contains("conversations"));
        assert!(refused(&["@file"]).contains("taken for the prompt"));
        let servers = TurnSpec {
            mcp_config: Some("/run/mcp.json".into()),
            ..TurnSpec::plain()
        };
        assert!(plan(&servers).unwrap_err().to_string().contains("no MCP"));
        let effort = TurnSpec {
            effort: Some("huge".to_owned()),
            ..TurnSpec::plain()
        };
        assert!(plan(&effort).unwrap_err().to_string().contains("xhigh"));
    }
}
