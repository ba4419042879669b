//! What every wire format has in common: a request is read, asks for something, and is answered
//! with a performance or an error. Pure; the formats themselves are in modules of their own.

use serde_json::{Map, Value, json};

use super::engine::{Conversation, Performance, Turn};
use super::playback::Playback;
use super::script::FailureKind;
use super::toolset::{Call, Toolset};

/// A vendor's wire format.
pub(super) trait Dialect: Send + Sync {
    /// Reads a request; the error is the sentence that the client is told.
    fn read(&self, incoming: &Incoming<'_>) -> Result<Reading, String>;

    /// An error response in the vendor's own JSON.
    fn error(&self, error: &ErrorReply<'_>) -> (u16, Value);
}

/// What a request turned out to be.
pub(super) enum Reading {
    /// It wants the tokens of its prompt counted: this is the answer.
    Count(Value),
    /// It wants the model to speak.
    Request(Box<dyn Request>),
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    /// What follows the last slash of its path: `gemini-3.8-flash:generateContent`.
    pub(super) path_end: &'a str,
    /// The session, where the CLI tells it in a header and not in the body.
    pub(super) session: Option<&'a str>,
    /// Whether a header says that a subagent asks.
    pub(super) subagent: bool,
    /// The body.
    pub(super) body: &'a [u8],
}

/// A request that has been read.
pub(super) trait Request: Send + Sync {
    /// Who asks, and how their conversation went so far.
    fn ask(&self) -> Ask;

    /// The tools that it offers.
    fn toolset(&self) -> Toolset;

    /// Whether it is answered with a stream of events.
    fn streams(&self) -> bool;

    /// A call that this CLI needs before the script goes on.
    fn interlude(&self) -> Option<Call> {
        None
    }

    /// The answer's body in time.
    fn play(&self, performance: &Performance<Call>) -> Playback;

    /// The model that it names, for errors.
    fn model(&self) -> &str;
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// The CLI on its own account (a session title, a summary of a web page): answered with this
    /// text, whatever the script says.
    Side(String),
    /// An agent.
    Conversation(Conversation),
}

/// What an error response is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorReply<'a> {
    /// Which error.
    pub(super) kind: &'a FailureKind,
    /// What it says; none: what the vendor usually says, or `fallback`.
    pub(super) message: Option<&'a str>,
    /// Said where the vendor has no usual words.
    pub(super) fallback: &'a str,
    /// Seconds until a retry is welcome.
    pub(super) retry_after: Option<u64>,
    /// The model that was asked.
    pub(super) model: &'a str,
}

/// What the model says to a call that no script is asked for.
pub(super) const SIDE_TEXT: &str = "Scripted, no model";

/// An error in mid-stream.
pub(super) const CUT_MESSAGE: &str = "the script cuts this reply here";

/// The working directory, in a line that tells it. Claude Code has a line for the main agent, one
/// for subagents and one for `--bare`; `OpenCode` shares the second, Pi and Codex have their own.
pub(super) fn working_directory(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '-']);
    let codex = line
        .strip_prefix("<cwd>")
        .and_then(|rest| rest.strip_suffix("</cwd>"));
    let label = |label: &&str| line.strip_prefix(*label);
    let labels = [
        "Primary working directory: ",
        "Working directory: ",
        "Current working directory: ",
        "CWD: ",
    ];
    codex
        .or_else(|| labels.iter().find_map(label))
        .filter(|path| path.starts_with('/'))
}

/// CLIs speak to the model in blocks of their own beside the user's.
pub(super) fn is_clis_own(text: &str) -> bool {
    let text = text.trim();
    let wrapped = |tag: &&str| {
        let inner = text
            .strip_prefix('<')
            .and_then(|text| text.strip_suffix('>'));
        inner.is_some_and(|inner| inner.starts_with(*tag) && inner.ends_with(*tag))
    };
    text.starts_with("# AGENTS.md instructions") || OWN_TAGS.iter().any(wrapped)
}

const OWN_TAGS: [&str; 7] = [
    "system-reminder",
    "environment_context",
    "user_instructions",
    "turn_aborted",
    "subagent_notification",
    "skill",
    "session_context",
];

/// About how many tokens texts have: a token is some four bytes of English.
pub(super) fn estimated_tokens<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes: usize = texts.map(str::len).sum();
    u64::try_from(bytes / 4).unwrap_or(u64::MAX)
}

/// An answer that fits a JSON schema; CLIs read nothing that does not.
pub(super) fn fitting(schema: &Value) -> Value {
    if let Some(first) = schema.get("enum").and_then(Value::as_array) {
        return first.first().cloned().unwrap_or_default();
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("");
    match kind.to_ascii_lowercase().as_str() {
        "string" => SIDE_TEXT.into(),
        "integer" | "number" => json!(1),
        "boolean" => json!(false),
        "array" => json!([]),
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let fields = properties.into_iter().flatten();
            let fields: Map<String, Value> = fields
                .map(|(name, schema)| (name.clone(), fitting(schema)))
                .collect();
            fields.into()
        }
    }
}

/// The turns of a conversation out of a flat history.
///
/// What the model says in a row is one reply. A reply that nothing follows does not count: a CLI
/// whose stream was cut asks again with the part that it got.
#[derive(Debug, Default)]
pub(super) struct History {
    turns: Vec<Turn>,
    replying: bool,
}

impl History {
    /// A text of the user's.
    pub(super) fn prompt(&mut self, text: &str) {
        self.replying = false;
        self.turns.push(Turn::Prompt(text.to_owned()));
    }

    /// Something that the model said or called.
    pub(super) fn reply(&mut self) {
        if !self.replying {
            self.turns.push(Turn::Reply);
        }
        self.replying = true;
    }

    /// The result of a tool, or a word of the CLI's own.
    pub(super) fn between(&mut self) {
        self.replying = false;
    }

    /// All turns in their order.
    pub(super) fn turns(mut self) -> Vec<Turn> {
        if self.replying {
            self.turns.pop();
        }
        self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_a_row_is_one_reply_and_an_unanswered_one_is_none() {
        let mut history = History::default();
        history.prompt("do");
        history.reply();
        history.reply();
        history.between();
        history.reply();
        history.prompt("again");
        history.reply();
        let prompt = |text: &str| Turn::Prompt(text.to_owned());
        let turns = [prompt("do"), Turn::Reply, Turn::Reply, prompt("again")];
        assert_eq!(history.turns(), turns);
    }

    #[test]
    fn words_of_the_cli_are_told_from_the_users() {
        for own in [
            "<system-reminder>\nToday\n</system-reminder>\n\n",
            "<environment_context>\n<cwd>/x</cwd>\n</environment_context>",
            "# AGENTS.md instructions for /x\n\n<INSTRUCTIONS>",
        ] {
            assert!(is_clis_own(own), "{own}");
        }
        assert!(!is_clis_own(
            "<system-reminder> is a tag that I wonder about"
        ));
        assert!(!is_clis_own("fix <skill>"));
    }

    #[test]
    fn each_cli_tells_its_working_directory_in_its_own_line() {
        for line in [
            " - Primary working directory: /a b",
            "  Working directory: /a b",
            "Current working directory: /a b",
            "  <cwd>/a b</cwd>",
        ] {
            assert_eq!(working_directory(line), Some("/a b"), "{line}");
        }
        assert_eq!(working_directory("Working directory: none"), None);
    }

    #[test]
    fn an_answer_fits_its_schema() {
        let schema = json!({"type": "OBJECT", "properties": {
            "why": {"type": "STRING"},
            "score": {"type": "INTEGER"},
            "next": {"type": "string", "enum": ["user", "model"]},
            "more": {"type": "object", "properties": {"sure": {"type": "boolean"}}},
        }});
        assert_eq!(
            fitting(&schema),
            json!({"why": SIDE_TEXT, "score": 1, "next": "user", "more": {"sure": false}})
        );
    }
}
