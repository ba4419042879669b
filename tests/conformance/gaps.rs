//! What a vendor's CLI cannot give, or gives in another way: the one table of it. The lists of
//! expected events and `docs/agents.md` follow from it.

use std::fmt::Write as _;

use crate::agents::AGENTS;

/// Something that not every CLI gives.
pub(crate) struct Gap {
    /// What `expected.txt` calls it.
    pub(crate) id: &'static str,
    /// What is missing, for users.
    pub(crate) feature: &'static str,
    /// Who does not give it, and why.
    pub(crate) agents: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(crate) const GAPS: &[Gap] = &[
    Gap {
        id: "pieces",
        feature: "text in pieces, while it is written",
        agents: &[
            ("codex", "prints a message when it is whole"),
            ("opencode", "prints a text when it is whole"),
        ],
    },
    Gap {
        id: "thinking",
        feature: "reasoning",
        agents: &[("gemini", "does not print thoughts")],
    },
    Gap {
        id: "exit-zero",
        feature: "exit code of a command that succeeded",
        agents: &[
            ("claude", "tells exit codes of failures only"),
            ("gemini", "tells no exit codes"),
            ("pi", "tells exit codes of failures only"),
        ],
    },
    Gap {
        id: "exit-code",
        feature: "exit code of a command that failed, and that it failed",
        agents: &[("gemini", "calls every command that ran a success, and tells no exit code")],
    },
    Gap {
        id: "plain-failure",
        feature: "output of a command that failed, without other words",
        agents: &[("claude", "puts `Exit code N` in front of it")],
    },
    Gap {
        id: "write-content",
        feature: "content of a written file in the call's input",
        agents: &[("codex", "names the files of a patch only")],
    },
    Gap {
        id: "diff",
        feature: "diff of a changed file",
        agents: &[
            ("codex", "names the files of a patch only"),
            ("gemini", "prints no diff"),
        ],
    },
    Gap {
        id: "edit-output",
        feature: "what `write` and `edit` told the model",
        agents: &[
            ("codex", "does not print what a patch gave the model"),
            ("gemini", "prints what a person is shown, which is nothing here"),
        ],
    },
    Gap {
        id: "read-output",
        feature: "what `read` told the model",
        agents: &[("gemini", "prints what a person is shown, which is nothing here")],
    },
    Gap {
        id: "mcp",
        feature: "tools of MCP servers",
        agents: &[("pi", "has no MCP")],
    },
    Gap {
        id: "plan",
        feature: "to-do list",
        agents: &[
            ("gemini", "does not offer its tool for it to the model in this form"),
            ("pi", "has none"),
        ],
    },
    Gap {
        id: "search",
        feature: "`glob` and `grep` as tools of their own",
        agents: &[
            ("claude", "searches by shell command unless `--tools` names them"),
            ("codex", "searches by shell command"),
            ("pi", "searches by shell command unless `--tools` names them"),
        ],
    },
    Gap {
        id: "grep-output",
        feature: "what `grep` told the model",
        agents: &[("gemini", "prints what a person is shown, which is nothing here")],
    },
    Gap {
        id: "subagent",
        feature: "sub-agents",
        agents: &[("pi", "has none")],
    },
    Gap {
        id: "subagent-steps",
        feature: "what a sub-agent does",
        agents: &[
            ("codex", "does not print it"),
            ("opencode", "does not print it"),
            ("gemini", "does not print it"),
            ("pi", "has no sub-agents"),
        ],
    },
    Gap {
        id: "subagent-output",
        feature: "a sub-agent's answer as the output of its call",
        agents: &[
            ("codex", "gives it to a later call `wait`"),
            ("gemini", "does not print it"),
            ("pi", "has no sub-agents"),
        ],
    },
    Gap {
        id: "subagent-waits",
        feature: "one call for a sub-agent's whole work",
        agents: &[("codex", "starts it with one call, and waits for it with another")],
    },
    Gap {
        id: "retry",
        feature: "notice when a request to the model is tried again",
        agents: &[("gemini", "says it on stderr only")],
    },
    Gap {
        id: "retry-late",
        feature: "that notice at once",
        agents: &[("opencode", "says it in its log only, which is read at the end")],
    },
    Gap {
        id: "auth-retry",
        feature: "a refused key ends the turn at once",
        agents: &[
            ("claude", "asks again, as often as `CLAUDE_CODE_MAX_RETRIES` says"),
            ("codex", "asks again, as often as its provider's `stream_max_retries` says"),
        ],
    },
    Gap {
        id: "cut-retry",
        feature: "notice when an answer was cut and is asked for again",
        agents: &[
            ("claude", "says nothing"),
            ("gemini", "says nothing"),
        ],
    },
    Gap {
        id: "cut-text",
        feature: "a text that was cut is taken back when it comes again",
        agents: &[("gemini", "repeats it without a mark where it begins anew")],
    },
    Gap {
        id: "whole-output",
        feature: "output of commands beyond 100 kB",
        agents: &[
            ("claude", "prints 2 kB and the name of a file with the rest"),
            ("opencode", "prints the end and the name of a file with the rest"),
            ("pi", "prints the end and the name of a file with the rest"),
        ],
    },
    Gap {
        id: "max-turns",
        feature: "limit of rounds with the model",
        agents: &[
            ("codex", "has none"),
            ("opencode", "asks the model to come to an end instead"),
            ("pi", "has none"),
        ],
    },
];

/// Whether an agent has that gap.
pub(crate) fn has(agent: &str, id: &str) -> bool {
    let gap = GAPS.iter().find(|gap| gap.id == id);
    let gap = gap.unwrap_or_else(|| panic!("no gap is called {id}"));
    gap.agents.iter().any(|(name, _)| *name == agent)
}
