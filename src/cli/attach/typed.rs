//! What a typed line means. Pure.

/// A line of the person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Begin a turn with this; while one runs, after it.
    Prompt(String),
    /// Hear this in the middle of the turn.
    Steer(String),
    /// Interrupt the turn.
    Abort,
    /// Yes to a question: that of this id, else the oldest.
    Approve(Option<String>),
    /// No to it.
    Deny(Option<String>),
    /// Words to the oldest question.
    Answer(String),
    /// Have a paused session led again.
    Resume,
    /// Leave.
    Quit,
    /// What can be typed.
    Help,
    /// Nothing.
    Blank,
    /// Not understood, and why.
    Unknown(String),
}

/// What can be typed, for people.
pub(super) const HELP: &str = "\
TEXT             a prompt; while the agent works it waits until the turn is over
/steer TEXT      a message that the agent hears in the middle of its turn
/abort           end the turn that runs (also Ctrl-C)
/approve [ID]    yes to what is asked; without ID, to the oldest question
/deny [ID]       no to it
/answer TEXT     an answer in words, or the number of a choice
/resume          have a paused session led again
/quit            leave; the session goes on (also Ctrl-D)
//TEXT           a prompt that begins with a slash";

/// Reads a line.
pub(super) fn typed(line: &str) -> Typed {
    let text = line.trim();
    if text.is_empty() {
        return Typed::Blank;
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Typed::Prompt(text.to_owned());
    };
    if rest.starts_with('/') {
        return Typed::Prompt(rest.to_owned());
    }
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let id = || (!rest.is_empty()).then(|| rest.to_owned());
    let needs_text = |make: fn(String) -> Typed| {
        id().map_or_else(|| Typed::Unknown(format!("/{word} needs a text")), make)
    };
    match word {
        "steer" => needs_text(Typed::Steer),
        "answer" => needs_text(Typed::Answer),
        "abort" => Typed::Abort,
        "approve" => Typed::Approve(id()),
        "deny" => Typed::Deny(id()),
        "resume" => Typed::Resume,
        "quit" | "exit" | "detach" => Typed::Quit,
        "help" => Typed::Help,
        _ => Typed::Unknown(format!(
            "there is no /{word}; /help lists what there is, //{word} sends it as a prompt"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prompt_unless_it_begins_with_one_slash() {
        assert_eq!(typed(" fix it "), Typed::Prompt("fix it".to_owned()));
        assert_eq!(typed("//etc"), Typed::Prompt("/etc".to_owned()));
        assert_eq!(typed("/steer  go left"), Typed::Steer("go left".to_owned()));
        assert_eq!(typed("/approve"), Typed::Approve(None));
        assert_eq!(typed("/deny u1"), Typed::Deny(Some("u1".to_owned())));
        assert_eq!(typed("  "), Typed::Blank);
        assert!(matches!(typed("/steer"), Typed::Unknown(_)));
        assert!(matches!(typed("/setup now"), Typed::Unknown(why) if why.contains("//setup")));
    }
}
