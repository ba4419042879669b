//! What a vendor's CLI cannot give, or gives in another way: the one table of it. The lists of
//! expected events and `docs/agents.md` follow from it.

use std::fmt::Write as _;

use crate::agents::{AGENTS, Agent, LIVE};
use crate::expected;

/// Something that not every CLI gives.
pub(crate) struct Gap {
    /// What `expected.txt` calls it. `a-b` is a part of `a`: who does not give that does not give
    /// this either.
    pub(crate) id: &'static str,
    /// What is missing, for users.
    pub(crate) feature: &'static str,
    /// Who does not give it, and why.
    pub(crate) agents: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(crate) const GAPS: &[Gap] = &[
    Gap {
        id: "steer",
        feature: "a message into the running turn, without an interrupt",
        agents: &[
            (
                "claude",
                "has a process a turn: it is ended, and the turn goes on with it in another",
            ),
            (
                "codex",
                "has a process a turn: it is ended, and the turn goes on with it in another",
            ),
            (
                "opencode",
                "has a process a turn: it is ended, and the turn goes on with it in another",
            ),
            (
                "gemini",
                "has a process a turn: it is ended, and the turn goes on with it in another",
            ),
            (
                "pi",
                "has a process a turn: it is ended, and the turn goes on with it in another",
            ),
            (
                "opencode live",
                "knows no such message: the turn is interrupted and goes on with it",
            ),
            (
                "gemini live",
                "knows no such message: the turn is interrupted and goes on with it",
            ),
        ],
    },
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
            ("claude live", "tells exit codes of failures only"),
            ("gemini live", "tells no exit codes"),
        ],
    },
    Gap {
        id: "exit-code",
        feature: "exit code of a command that failed, and that it failed",
        agents: &[
            (
                "gemini",
                "calls every command that ran a success, and tells no exit code",
            ),
            (
                "gemini live",
                "calls every command that ran a success, and tells no exit code",
            ),
        ],
    },
    Gap {
        id: "output",
        feature: "what a command printed",
        agents: &[("gemini live", "does not tell it")],
    },
    Gap {
        id: "output-head",
        feature: "output of a command that failed, from its first byte on",
        agents: &[
            ("claude", "puts `Exit code N` in front of it"),
            ("claude live", "puts `Exit code N` in front of it"),
        ],
    },
    Gap {
        id: "output-tail",
        feature: "output of a command that failed, up to its last byte",
        agents: &[("pi", "adds `Command exited with code N`")],
    },
    Gap {
        id: "write-content",
        feature: "content of a written file in the call's input",
        agents: &[
            ("codex", "names the files of a patch only"),
            ("gemini live", "tells the change when it is made"),
        ],
    },
    Gap {
        id: "diff",
        feature: "diff of a changed file",
        agents: &[
            ("codex", "names the files of a patch only"),
            ("gemini", "prints no diff"),
            ("pi", "prints diffs in a form of its own"),
        ],
    },
    Gap {
        id: "edit-output",
        feature: "what `write` and `edit` told the model",
        agents: &[
            ("codex", "does not print what a patch gave the model"),
            (
                "gemini",
                "prints what a person is shown, which is nothing here",
            ),
            ("codex live", "does not print what a patch gave the model"),
            ("gemini live", "does not tell it"),
        ],
    },
    Gap {
        id: "read-output",
        feature: "what `read` told the model",
        agents: &[
            (
                "gemini",
                "prints what a person is shown, which is nothing here",
            ),
            ("gemini live", "does not tell it"),
        ],
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
            (
                "gemini",
                "does not offer its tool for it to the model in this form",
            ),
            ("pi", "has none"),
            (
                "gemini live",
                "does not offer its tool for it to the model in this form",
            ),
        ],
    },
    Gap {
        id: "search",
        feature: "`glob` and `grep` as tools of their own",
        agents: &[
            (
                "claude",
                "searches by shell command unless `--tools` names them",
            ),
            ("codex", "searches by shell command"),
            (
                "pi",
                "searches by shell command unless `--tools` names them",
            ),
            (
                "claude live",
                "searches by shell command unless `--tools` names them",
            ),
            ("codex live", "searches by shell command"),
        ],
    },
    Gap {
        id: "search-output",
        feature: "what `grep` told the model",
        agents: &[
            (
                "gemini",
                "prints what a person is shown, which is nothing here",
            ),
            ("gemini live", "does not tell it"),
        ],
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
            ("gemini live", "does not tell it"),
        ],
    },
    Gap {
        id: "subagent-output",
        feature: "a sub-agent's answer as the output of its call",
        agents: &[
            ("codex", "gives it to a later call `wait`"),
            ("gemini", "does not print it"),
            ("codex live", "gives it to a later call `wait`"),
            ("gemini live", "does not tell it"),
        ],
    },
    Gap {
        id: "subagent-waits",
        feature: "one call for a sub-agent's whole work",
        agents: &[
            (
                "codex",
                "starts it with one call, and waits for it with another",
            ),
            (
                "codex live",
                "starts it with one call, and waits for it with another",
            ),
        ],
    },
    Gap {
        id: "order",
        feature: "text before the calls that it announces",
        agents: &[(
            "opencode",
            "prints a text when its message is over, at times after a quick call",
        )],
    },
    Gap {
        id: "call-start",
        feature: "a call when it begins",
        agents: &[("opencode", "prints a call when it is over")],
    },
    Gap {
        id: "early-storage",
        feature: "a first turn that was cut off goes on in its own conversation",
        agents: &[(
            "pi",
            "stores a conversation when its first answer is over; before that, a fresh one is told",
        )],
    },
    Gap {
        id: "retry",
        feature: "notice when a request to the model is tried again",
        agents: &[
            ("gemini", "says it on stderr only"),
            ("gemini live", "says nothing"),
        ],
    },
    Gap {
        id: "retry-first",
        feature: "that notice from the first time on",
        agents: &[(
            "pi",
            "its HTTP library tries twice more by itself, and says nothing",
        )],
    },
    Gap {
        id: "early-error",
        feature: "an error that is tried again is a warning only",
        agents: &[(
            "pi",
            "tells each error as one, and then that it tries again",
        )],
    },
    Gap {
        id: "retry-late",
        feature: "that notice at once",
        agents: &[(
            "opencode",
            "says it in its log only, which is read at the end",
        )],
    },
    Gap {
        id: "auth-retry",
        feature: "a refused key ends the turn at once",
        agents: &[
            (
                "claude",
                "asks again, as often as `CLAUDE_CODE_MAX_RETRIES` says",
            ),
            (
                "codex",
                "asks again, as often as its provider's `stream_max_retries` says",
            ),
            (
                "claude live",
                "asks again, as often as `CLAUDE_CODE_MAX_RETRIES` says",
            ),
            (
                "codex live",
                "asks again, as often as its provider's `stream_max_retries` says",
            ),
        ],
    },
    Gap {
        id: "cut-retry",
        feature: "notice when an answer was cut and is asked for again",
        agents: &[
            ("claude", "mostly says nothing"),
            ("gemini", "says nothing"),
            ("claude live", "mostly says nothing"),
            ("gemini live", "says nothing"),
        ],
    },
    Gap {
        id: "cut-text",
        feature: "a text that was cut is taken back when it comes again",
        agents: &[
            ("gemini", "repeats it without a mark where it begins anew"),
            (
                "gemini live",
                "repeats it without a mark where it begins anew",
            ),
        ],
    },
    Gap {
        id: "cut-told",
        feature: "a text that was cut is taken back when it never comes whole",
        agents: &[("gemini live", "tells it, as often as it is tried")],
    },
    Gap {
        id: "overflow",
        feature: "a full context ends the turn",
        agents: &[
            ("opencode", "shortens the context and goes on"),
            ("opencode live", "shortens the context and goes on"),
        ],
    },
    Gap {
        id: "output-whole",
        feature: "output of commands beyond 100 kB",
        agents: &[
            ("claude", "prints 2 kB and the name of a file with the rest"),
            (
                "opencode",
                "prints the end and the name of a file with the rest",
            ),
            ("pi", "prints the end and the name of a file with the rest"),
            (
                "claude live",
                "prints 2 kB and the name of a file with the rest",
            ),
            (
                "opencode live",
                "prints the end and the name of a file with the rest",
            ),
        ],
    },
    Gap {
        id: "max-turns",
        feature: "limit of rounds with the model",
        agents: &[
            ("codex", "has none"),
            ("opencode", "asks the model to come to an end instead"),
            ("pi", "has none"),
            ("codex live", "has none"),
            ("opencode live", "asks the model to come to an end instead"),
        ],
    },
];

/// Parts that are not compared, and why.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    (
        "claude live",
        "cut",
        "whether it says a word of its second try depends on the moment",
    ),
    (
        "codex live",
        "subagent",
        "a sub-agent tells what it does while others go on, in an order that is nobody's",
    ),
];

/// Whether that part is not compared for an agent.
pub(crate) fn is_left_out(agent: &str, part: &str) -> bool {
    let mut parts = LEFT_OUT.iter();
    parts.any(|(of, name, _)| (*of, *name) == (agent, part))
}

/// Whether an agent has that gap.
pub(crate) fn has(agent: &str, id: &str) -> bool {
    let gap = GAPS.iter().find(|gap| gap.id == id);
    let gap = gap.unwrap_or_else(|| panic!("no gap is called {id}"));
    gap.agents.iter().any(|(name, _)| *name == agent)
}

/// Whether an agent has the gap, or the one that it is a part of.
fn lacks(agent: &str, gap: &Gap) -> bool {
    let whole = gap.id.split_once('-').map(|(whole, _)| whole);
    let mut gaps = GAPS
        .iter()
        .filter(|known| known.id == gap.id || Some(known.id) == whole);
    gaps.any(|known| has(agent, known.id))
}

/// The tables as Markdown: exec forms, then live forms.
fn tables() -> String {
    let live = table(&LIVE);
    format!("{}\n### In live form\n\n{live}", table(&AGENTS))
}

fn table(agents: &[&Agent]) -> String {
    let mut table = String::from("| |");
    let mut notes = String::new();
    for agent in agents {
        write!(table, " {} |", agent.key).unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&":-:|".repeat(agents.len()));
    for gap in GAPS {
        write!(table, "\n| {} |", gap.feature).unwrap();
        for agent in agents {
            table.push_str(if lacks(agent.key, gap) {
                " – |"
            } else {
                " yes |"
            });
        }
    }
    for agent in agents {
        write!(notes, "\n### {}\n", agent.key).unwrap();
        for gap in GAPS {
            let why = gap.agents.iter().find(|(name, _)| *name == agent.key);
            if let Some((_, why)) = why {
                write!(notes, "\n* {}: {why}", gap.feature).unwrap();
            }
        }
        for (_, part, why) in LEFT_OUT.iter().filter(|(of, ..)| *of == agent.key) {
            write!(notes, "\n* not compared, `{part}`: {why}").unwrap();
        }
        notes.push('\n');
    }
    format!("{table}\n{notes}")
}

#[test]
fn the_docs_hold_this_table() {
    const BEGIN: &str = "<!-- begin of the generated table -->\n";
    const END: &str = "<!-- end of the generated table -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agents.md");
    let found = std::fs::read_to_string(path).unwrap();
    let (head, rest) = found.split_once(BEGIN).expect("the table's begin");
    let (_, tail) = rest.split_once(END).expect("the table's end");
    let wanted = format!("{head}{BEGIN}\n{}\n{END}{tail}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, wanted).unwrap();
    } else {
        assert!(
            found == wanted,
            "docs/agents.md is not what gaps.rs says: run this with UPDATE_DOCS=1"
        );
    }
}

#[test]
fn each_gap_is_of_a_known_agent_and_changes_what_is_expected_of_it() {
    for gap in GAPS {
        for (agent, _) in gap.agents {
            let mut known = AGENTS.iter().chain(&LIVE);
            assert!(known.any(|known| known.key == *agent), "{agent}");
            // who has no limit is not asked to keep one; the listing sees to the order, and the
            // kills to what was stored by then
            let elsewhere = ["max-turns", "order", "steer", "early-storage"].contains(&gap.id);
            let matters = elsewhere || expected::differs(agent, gap.id);
            assert!(matters, "{} has the gap {} to no effect", agent, gap.id);
        }
    }
    for (agent, part, _) in LEFT_OUT {
        assert!(LIVE.iter().any(|known| known.key == *agent), "{agent}");
        assert!(expected::names().contains(part), "{part}");
    }
    for id in expected::gaps() {
        assert!(
            GAPS.iter().any(|gap| gap.id == id),
            "expected.txt has an unknown gap {id}"
        );
    }
}
