//! Commands of the session's participants: the whole set of Pi 0.74.2's RPC mode.

use serde_json::Value;

use super::{attachments, field};
use crate::config::Author;
use crate::image::{self, Image};

/// A controller's own name of a command, repeated in the answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandId(Value);

/// What a controller wants of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin a turn; while one runs it waits its turn.
    Prompt(Said),
    /// Begin a turn after the one that runs.
    FollowUp(Said),
    /// Give this to the running turn.
    Steer(Said),
    /// Interrupt the running turn.
    Abort,
    /// Say how the session stands.
    GetState,
    /// Say what was said: the newest messages before this one, at most so many.
    GetMessages {
        /// The first message that is not wanted any more, counted from 0; none: from the newest.
        before: Option<u64>,
        /// How many at most.
        limit: Option<u64>,
    },
    /// Count messages and tokens.
    GetStats,
    /// Say what the agent said last.
    GetLastText,
    /// Go on with another model.
    SetModel {
        /// Its vendor, where the client knows it.
        provider: Option<String>,
        /// As the vendor, or the CLI, calls it.
        model: String,
    },
    /// Go on with the next of the known models.
    CycleModel,
    /// Name the models that are known.
    GetModels,
    /// Let the model think harder, or less.
    SetThinking(String),
    /// Go on with the next level of thinking.
    CycleThinking,
    /// Give the session a name.
    SetName(String),
    /// Begin a conversation anew.
    NewSession,
    /// Have the CLI shorten its context.
    Compact(Option<String>),
    /// Run a command in the workspace.
    Bash(String),
    /// End that command.
    AbortBash,
    /// A setting that is as it is: taken where this is what is asked for.
    Fixed {
        /// Whether it is what is asked for.
        agrees: bool,
        /// How it is.
        is: &'static str,
    },
    /// Name commands that a prompt may begin with.
    GetCommands,
    /// Name the messages that the session can be forked at.
    GetForkMessages,
    /// A command of this type that no lead of ours knows.
    Other(String),
}

/// What a participant says to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The words.
    pub text: String,
    /// On whose behalf, where the Hub tells: `author` as in its entries of a conversation.
    pub author: Option<Author>,
    /// The images that go with them.
    pub images: Vec<Image>,
}

/// A command with what its answer needs.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::hub) struct Request {
    pub(in crate::hub) id: Option<CommandId>,
    /// The command's type, as it came.
    pub(in crate::hub) name: String,
    /// The command, or why it cannot be taken.
    pub(in crate::hub) command: Result<Command, String>,
}

/// An id shorter than this is a place in somebody's count, and another's count has it, too.
const LEAST_UNIQUE: usize = 12;
/// The longest model, name or level that is taken, in bytes.
const MAX_NAME: usize = 256;

impl CommandId {
    /// The id, where nobody else would give the same to another command.
    pub(in crate::hub) fn unique(&self) -> Option<&str> {
        self.0.as_str().filter(|id| id.len() >= LEAST_UNIQUE)
    }

    /// As it goes into the answer.
    pub(in crate::hub) fn into_value(self) -> Value {
        self.0
    }
}

impl Request {
    pub(super) fn read(command: &Value) -> Self {
        let name = field(command, "type").unwrap_or_default();
        let id = command.get("id").filter(|id| !id.is_null());
        Self {
            id: id.cloned().map(CommandId),
            name: name.to_owned(),
            command: parse(name, command),
        }
    }
}

fn parse(name: &str, command: &Value) -> Result<Command, String> {
    Ok(match name {
        "prompt" => match field(command, "streamingBehavior") {
            Some("steer") => Command::Steer(said(command)?),
            Some("followUp") => Command::FollowUp(said(command)?),
            _ => Command::Prompt(said(command)?),
        },
        "follow_up" => Command::FollowUp(said(command)?),
        "steer" => Command::Steer(said(command)?),
        "abort" => Command::Abort,
        "get_state" => Command::GetState,
        "get_messages" => Command::GetMessages {
            before: command.get("before").and_then(Value::as_u64),
            limit: command.get("limit").and_then(Value::as_u64),
        },
        "get_session_stats" => Command::GetStats,
        "get_last_assistant_text" => Command::GetLastText,
        "get_available_models" => Command::GetModels,
        "get_commands" => Command::GetCommands,
        "get_fork_messages" => Command::GetForkMessages,
        _ => return change(name, command),
    })
}

/// Commands that change the session.
fn change(name: &str, command: &Value) -> Result<Command, String> {
    Ok(match name {
        "set_model" => Command::SetModel {
            provider: short(command, "provider").ok(),
            model: short(command, "modelId")?,
        },
        "cycle_model" => Command::CycleModel,
        "set_thinking_level" => Command::SetThinking(short(command, "level")?),
        "cycle_thinking_level" => Command::CycleThinking,
        "set_session_name" => Command::SetName(short(command, "name")?),
        "new_session" => Command::NewSession,
        "compact" => Command::Compact(
            field(command, "customInstructions")
                .filter(|text| !text.trim().is_empty())
                .map(str::to_owned),
        ),
        "bash" => Command::Bash(full(command, "command")?),
        "abort_bash" => Command::AbortBash,
        "" => return Err("the command has no type".to_owned()),
        _ => return fixed(name, command),
    })
}

/// What is as it is, and what there is none of.
fn fixed(name: &str, command: &Value) -> Result<Command, String> {
    let is = |key: &str, value: &Value| command.get(key) == Some(value);
    let none = |why: &str| Err(why.to_owned());
    Ok(match name {
        "set_steering_mode" => Command::Fixed {
            agrees: is("mode", &"all".into()),
            is: "each steering message is given to the agent at once (`all`)",
        },
        "set_follow_up_mode" => Command::Fixed {
            agrees: is("mode", &"one-at-a-time".into()),
            is: "each follow-up is a turn of its own (`one-at-a-time`)",
        },
        "set_auto_compaction" => Command::Fixed {
            agrees: is("enabled", &true.into()),
            is: "the agent's CLI decides by itself when it shortens its context",
        },
        "set_auto_retry" => Command::Fixed {
            agrees: is("enabled", &true.into()),
            is: "an agent that died is started again by the runner's own rules",
        },
        "abort_retry" => return none("a retry ends with its turn; send `abort`"),
        "export_html" => {
            return none("this lead writes no HTML; the Hub's replay has the whole conversation");
        }
        "switch_session" => {
            return none(
                "a lead stays with its session; join the other one, or send `new_session`",
            );
        }
        "fork" | "clone" => {
            return none("no agent's CLI goes back to an earlier message; send `new_session`");
        }
        other => Command::Other(other.to_owned()),
    })
}

fn full(command: &Value, key: &str) -> Result<String, String> {
    let text = field(command, key).filter(|text| !text.trim().is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| format!("`{key}` is missing or empty"))
}

/// A value that is one line and no longer than any name.
fn short(command: &Value, key: &str) -> Result<String, String> {
    let text = full(command, key)?;
    if text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(format!(
            "`{key}` must be one line of at most {MAX_NAME} bytes"
        ));
    }
    Ok(text.trim().to_owned())
}

fn said(command: &Value) -> Result<Said, String> {
    Ok(Said {
        text: text(command)? + &attachments::told(command),
        author: author(command)?,
        images: images(command)?,
    })
}

/// Whom the Hub names; nobody where it knows no address.
fn author(command: &Value) -> Result<Option<Author>, String> {
    let Some(author) = command.get("author").filter(|author| !author.is_null()) else {
        return Ok(None);
    };
    let Some(address) = field(author, "email").filter(|address| !address.is_empty()) else {
        return Ok(None);
    };
    let name = field(author, "displayName").filter(|name| !name.is_empty());
    let author = Author::new(name.unwrap_or(address), address);
    author
        .map(Some)
        .map_err(|error| format!("`author`: {error}"))
}

/// Images as Pi has them (`data`, in base64), or as `data:` URLs.
fn images(command: &Value) -> Result<Vec<Image>, String> {
    let given = command.get("images").and_then(Value::as_array);
    let mut images = Vec::new();
    for (number, given) in (1..).zip(given.into_iter().flatten()) {
        let data = given.as_str().or_else(|| field(given, "data"));
        let image = data.ok_or_else(|| format!("image {number} of the prompt has no `data`"))?;
        let image = Image::from_base64(image);
        images.push(image.map_err(|error| format!("image {number} of the prompt: {error}"))?);
    }
    images.extend(attachments::images(command)?);
    image::all(images).map_err(|error| error.to_string())
}

fn text(command: &Value) -> Result<String, String> {
    let message = field(command, "message").or_else(|| field(command, "text"));
    match message.filter(|text| !text.trim().is_empty()) {
        None => Err("the message is empty".to_owned()),
        Some(text) => Ok(addressed(command, text)),
    }
}

/// A prompt for another agent than the lead names it in its text, as the official lead does.
fn addressed(command: &Value, text: &str) -> String {
    let agent = field(command, "agent").or_else(|| field(command, "targetAgent"));
    match agent.filter(|agent| !agent.is_empty() && *agent != "lead") {
        Some(agent) => format!("@{agent} {text}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Request::read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a case for each form")]
    fn commands_are_read_in_every_form_that_clients_send() {
        let words = |text: &str| Said {
            text: text.to_owned(),
            author: None,
            images: Vec::new(),
        };
        let prompt = |text: &str| Command::Prompt(words(text));
        let cases = [
            (r#"{"type":"prompt","message":"a"}"#, prompt("a")),
            (r#"{"type":"prompt","text":"a"}"#, prompt("a")),
            (
                r#"{"type":"prompt","message":"a","targetAgent":"scout","images":[]}"#,
                prompt("@scout a"),
            ),
            (
                r#"{"type":"prompt","message":"a","streamingBehavior":"steer"}"#,
                Command::Steer(words("a")),
            ),
            (
                r#"{"type":"prompt","message":"a","streamingBehavior":"followUp"}"#,
                Command::FollowUp(words("a")),
            ),
            (
                r#"{"type":"follow_up","message":"a"}"#,
                Command::FollowUp(words("a")),
            ),
            (
                r#"{"type":"steer","message":"a"}"#,
                Command::Steer(words("a")),
            ),
            (r#"{"type":"abort"}"#, Command::Abort),
            (r#"{"type":"get_state","id":"q1"}"#, Command::GetState),
            (r#"{"type":"compact"}"#, Command::Compact(None)),
            (
                r#"{"type":"get_messages","limit":5}"#,
                Command::GetMessages {
                    before: None,
                    limit: Some(5),
                },
            ),
            (
                r#"{"type":"set_model","provider":"anthropic","modelId":"m"}"#,
                Command::SetModel {
                    provider: Some("anthropic".into()),
                    model: "m".into(),
                },
            ),
            (
                r#"{"type":"bash","command":"ls"}"#,
                Command::Bash("ls".into()),
            ),
            (r#"{"type":"future"}"#, Command::Other("future".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(request(text).command, Ok(expected), "{text}");
        }
        for (text, fits) in [
            (r#"{"type":"set_steering_mode","mode":"all"}"#, true),
            (r#"{"type":"set_auto_retry","enabled":false}"#, false),
        ] {
            let command = request(text).command;
            assert!(matches!(command, Ok(Command::Fixed { agrees, .. }) if agrees == fits));
        }
    }

    #[test]
    fn images_are_read_as_pi_sends_them_and_as_urls_and_what_is_none_is_named() {
        let png = "iVBORw0KGgo=";
        let text = format!(
            r#"{{"type":"steer","message":"a","images":[
                {{"type":"image","data":"{png}","mimeType":"image/png"}},
                "data:image/png;base64,{png}"]}}"#
        );
        let Ok(Command::Steer(said)) = request(&text).command else {
            panic!("it is a message");
        };
        let [one, other] = said.images.as_slice() else {
            panic!("two images, not {:?}", said.images);
        };
        assert_eq!((one, one.base64().as_str()), (other, png));
        let bad = text.replace("data:image", "date:image");
        let why = request(&bad).command.unwrap_err();
        assert!(why.starts_with("image 2 of the prompt: "), "{why}");
    }

    #[test]
    fn what_lacks_something_is_refused_with_the_reason() {
        for text in [
            r#"{"type":"prompt","message":" "}"#,
            r#"{"type":"steer"}"#,
            r#"{"type":"prompt","message":"a","images":["x"]}"#,
            r#"{"type":"set_model","provider":"p"}"#,
            r#"{"type":"set_session_name","name":"a\nb"}"#,
            r#"{"type":"bash","command":""}"#,
            r#"{"type":"fork","entryId":"1"}"#,
            "{}",
            "7",
        ] {
            assert!(request(text).command.is_err(), "{text}");
        }
        let id = request(r#"{"type":"abort","id":7}"#).id.unwrap();
        assert_eq!(id.into_value(), 7);
    }
}
