//! Answers what agents ask before they go on: calls that need consent, and questions.
//!
//! Without a request's id the only one that waits is meant; where there are several, none is
//! guessed. The first answer counts, whoever gives it.

mod follow;
mod here;
mod talk;
mod terminal;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use super::client::{Client, ClientError, Context, runtime};
use super::printing::{print, print_json};
use super::render::{duration, summary, telling};
use super::{CliError, Exit};
use crate::api::wire::{
    AnswerAccepted, AnswerRequest, Decision, RequestList, RequestWaiting, SessionList,
    SessionSummary,
};
use crate::clock::Clock;
use crate::config::ClientOptions;
use crate::ids::SessionId;

pub(super) use here::Here;
use talk::{Said, Talk};
use terminal::Terminal;

/// What the command takes.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
pub(super) struct Arguments {
    /// Which request [default: the only one that waits]
    #[arg(value_name = "REQUEST_ID", conflicts_with_all = ["list", "follow"])]
    request_id: Option<String>,
    /// Only of this session [default: any of the daemon]
    #[arg(long, value_name = "ID", env = "AGENT_RUNNER_SESSION")]
    session: Option<SessionId>,
    /// Do not permit it; the agent is told the message
    #[arg(
        long,
        value_name = "MESSAGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        group = "answers"
    )]
    deny: Option<String>,
    /// Do not permit it, and end the turn
    #[arg(long, group = "answers")]
    cancel: bool,
    /// Answer a question: an option, its number, or a text; a JSON list where there are several.
    /// For a call: permit it with this JSON object as its input
    #[arg(
        long,
        value_name = "JSON|TEXT",
        group = "answers",
        allow_hyphen_values = true
    )]
    answer: Option<String>,
    /// Show what waits
    #[arg(long, conflicts_with_all = ["answers", "follow"])]
    list: bool,
    /// Show what waits and what comes; at a terminal, ask for each. Ctrl-C ends this
    #[arg(long, conflicts_with = "answers")]
    follow: bool,
    /// As JSON, with --list or --follow
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// A request and whose it is.
#[derive(Debug, Clone, Serialize)]
struct Found {
    session_id: SessionId,
    #[serde(flatten)]
    request: RequestWaiting,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    let (client, session) = (&context.client, arguments.session.as_ref());
    if arguments.json && !arguments.list && !arguments.follow {
        return Err(usage("--json goes with --list or --follow"));
    }
    if arguments.follow {
        return runtime()?.block_on(follow::run(client, session, arguments.json));
    }
    if arguments.list {
        let found = runtime()?.block_on(find(client, session))?;
        return if arguments.json {
            print_json(&found)
        } else {
            print(&listing(&found))
        };
    }
    runtime()?.block_on(answer(client, arguments))
}

async fn answer(client: &Client, arguments: &Arguments) -> Result<ExitCode, CliError> {
    let found = find(client, arguments.session.as_ref()).await?;
    let found = choose(found, arguments.request_id.as_deref())?;
    let said = said(arguments, &found.request).map_err(|why| CliError::new(Exit::Usage, why))?;
    let accepted = send(client, &found, &said).await?;
    let done = match accepted.decision {
        Decision::Allow if !found.request.questions.is_empty() => "answered",
        Decision::Allow => "permitted",
        Decision::Deny => "denied",
        Decision::Cancel => "denied, and its turn is ended",
    };
    print(&format!("{}: {done}\n", in_short(&found.request)))
}

/// Hands an answer over.
async fn send(
    client: &Client,
    found: &Found,
    said: &AnswerRequest,
) -> Result<AnswerAccepted, ClientError> {
    let id: String = url::form_urlencoded::byte_serialize(found.request.request_id.as_bytes())
        .map(|part| if part == "+" { "%20" } else { part })
        .collect();
    let path = format!("/v1/sessions/{}/requests/{id}", found.session_id);
    client.post(&path, said).await
}

/// What waits, in the session or in all of them.
async fn find(client: &Client, session: Option<&SessionId>) -> Result<Vec<Found>, ClientError> {
    let sessions = if let Some(session) = session {
        vec![session.clone()]
    } else {
        let list: SessionList = client.get("/v1/sessions").await?;
        let asking = |session: &SessionSummary| session.requests > 0;
        let sessions = list.sessions.into_iter().filter(asking);
        sessions.map(|session| session.id).collect()
    };
    let mut found = Vec::new();
    for session_id in sessions {
        let path = format!("/v1/sessions/{session_id}/requests");
        let list: RequestList = client.get(&path).await?;
        found.extend(list.requests.into_iter().map(|request| Found {
            session_id: session_id.clone(),
            request,
        }));
    }
    found.sort_by_key(|found| found.request.since);
    Ok(found)
}

/// The request with that id, or the only one.
fn choose(mut found: Vec<Found>, id: Option<&str>) -> Result<Found, CliError> {
    if let Some(id) = id {
        found.retain(|found| found.request.request_id == id);
    }
    let several = (found.len() > 1).then(|| listing(&found));
    match (found.pop(), several, id) {
        (Some(found), None, _) => Ok(found),
        (_, Some(several), None) => Err(usage(&format!(
            "which request? More than one waits; give its id:\n{several}"
        ))),
        (_, Some(several), Some(_)) => Err(usage(&format!(
            "which request? More than one session has one of that id; give --session ID:\n{several}"
        ))),
        (None, _, Some(id)) => Err(CliError::new(
            Exit::TryAgain,
            format!(
                "no request `{id}` waits; it may have been answered or withdrawn. `agent-runner \
                 approve --list` shows those that wait"
            ),
        )),
        (None, _, None) => Err(CliError::new(
            Exit::TryAgain,
            "no request waits; `agent-runner approve --follow` shows them as they come",
        )),
    }
}

fn usage(message: &str) -> CliError {
    CliError::new(Exit::Usage, message)
}

/// The answer that was typed.
fn said(arguments: &Arguments, request: &RequestWaiting) -> Result<AnswerRequest, String> {
    if let Some(message) = &arguments.deny {
        let message = Some(message.clone()).filter(|message| !message.trim().is_empty());
        return Ok(talk::answer(Decision::Deny, message));
    }
    if arguments.cancel {
        return Ok(talk::answer(Decision::Cancel, None));
    }
    let allowed = talk::answer(Decision::Allow, None);
    match (&arguments.answer, request.questions.is_empty()) {
        (None, true) => Ok(allowed),
        (None, false) => {
            let questions: String = request.questions.iter().map(talk::asked).collect();
            Err(format!(
                "it is a question; give --answer:\n{}",
                questions.trim_end()
            ))
        }
        (Some(text), true) => match serde_json::from_str(text) {
            Ok(input @ Value::Object(_)) => Ok(AnswerRequest {
                input: Some(input),
                ..allowed
            }),
            _ => Err(format!(
                "it is no question but a call of `{}`; --answer takes a JSON object here, which \
                 becomes its input",
                request.tool
            )),
        },
        (Some(text), false) => Ok(AnswerRequest {
            answers: Some(answers(text, request)?),
            ..allowed
        }),
    }
}

/// An answer to each question: the text itself, or a JSON list with a text or a list for each.
fn answers(text: &str, request: &RequestWaiting) -> Result<Vec<Vec<String>>, String> {
    let questions = &request.questions;
    if let ([question], false) = (questions.as_slice(), text.trim_start().starts_with('[')) {
        return Ok(vec![talk::chosen(question, text)]);
    }
    let each: Vec<Value> = serde_json::from_str(text).map_err(|error| {
        format!(
            "there are {} questions; give a JSON list of texts, one for each ({error})",
            questions.len()
        )
    })?;
    if each.len() != questions.len() {
        return Err(format!(
            "there are {} questions, and --answer holds {}",
            questions.len(),
            each.len()
        ));
    }
    let one = |(value, question): (&Value, _)| match value {
        Value::String(text) => Ok(talk::chosen(question, text)),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| part.as_str().map(str::to_owned));
            texts
                .collect::<Option<_>>()
                .ok_or_else(|| format!("`{value}` is no list of texts"))
        }
        other => Err(format!("`{other}` is neither a text nor a list of texts")),
    };
    each.iter().zip(questions).map(one).collect()
}

/// What waits, for people: a line each, and what may be answered.
fn listing(found: &[Found]) -> String {
    if found.is_empty() {
        return "no request waits\n".to_owned();
    }
    let now = Clock.wall().millis();
    let mut text = String::new();
    for Found {
        session_id,
        request,
    } in found
    {
        let age = duration(request.age_ms);
        let limit = request.until.map(|until| {
            let left = duration(until.millis().saturating_sub(now));
            format!(", is denied in {left}")
        });
        // Writing to a string cannot fail.
        writeln!(
            text,
            "{}  session {session_id}  {}  (waits for {age}{})",
            request.request_id,
            in_short(request),
            limit.unwrap_or_default(),
        )
        .ok();
        for question in &request.questions {
            text.push_str(&talk::asked(question));
        }
    }
    text
}

/// A request in one line.
fn in_short(request: &RequestWaiting) -> String {
    let about = match request.questions.first() {
        Some(question) => summary(&question.question),
        None => summary(&telling(&request.tool, &request.input)),
    };
    let tool = summary(&request.tool);
    format!("{tool} {about}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn typed(words: &[&str]) -> Arguments {
        let words = ["approve"].iter().chain(words);
        Line::try_parse_from(words).unwrap().arguments
    }

    fn found(id: &str, tool: &str, input: Value) -> Found {
        Found {
            session_id: "s1".parse().unwrap(),
            request: RequestWaiting {
                request_id: id.to_owned(),
                call_id: None,
                tool: tool.to_owned(),
                questions: serde_json::from_value(
                    input.get("questions").cloned().unwrap_or_else(|| json!([])),
                )
                .unwrap(),
                input,
                since: Timestamp::from_millis(0),
                age_ms: 1500,
                until: None,
            },
        }
    }

    #[test]
    fn where_several_wait_none_is_guessed_and_all_are_shown() {
        let both = || {
            vec![
                found("r1", "shell", json!({"command": "ls"})),
                found("r2", "read", json!({"file_path": "a"})),
            ]
        };
        let error = choose(both(), None).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        let text = error.to_string();
        assert!(
            text.contains("r1  session s1  shell ls  (waits for 1.5 s)"),
            "{text}"
        );
        assert_eq!(choose(both(), Some("r2")).unwrap().request.tool, "read");
        assert_eq!(
            choose(both(), Some("r3")).unwrap_err().exit(),
            Exit::TryAgain
        );
        assert_eq!(choose(Vec::new(), None).unwrap_err().exit(), Exit::TryAgain);
    }

    #[test]
    fn what_is_typed_is_what_is_said() {
        let shell = found("r", "shell", json!({"command": "ls"})).request;
        let say = |words: &[&str]| said(&typed(words), &shell);
        assert_eq!(say(&[]).unwrap().decision, Decision::Allow);
        assert_eq!(say(&["--deny", "r"]).unwrap().message, None);
        let told = say(&["--deny=Not now.", "r"]).unwrap();
        assert_eq!(told.message.as_deref(), Some("Not now."));
        assert_eq!(say(&["--cancel"]).unwrap().decision, Decision::Cancel);
        let changed = say(&["--answer", r#"{"command": "ls -l"}"#]).unwrap();
        assert_eq!(changed.input, Some(json!({"command": "ls -l"})));
        assert!(say(&["--answer", "x"]).unwrap_err().contains("JSON object"));
        assert!(Line::try_parse_from(["approve", "--deny", "--cancel"]).is_err());
    }

    #[test]
    fn questions_need_an_answer_each() {
        let one = json!({"question": "Which?", "options": [{"label": "A"}], "multiple": false});
        let ask = |questions: Vec<&Value>| {
            found("r", "AskUserQuestion", json!({ "questions": questions })).request
        };
        let say = |words: &[&str], count| said(&typed(words), &ask(vec![&one; count]));
        assert!(say(&[], 1).unwrap_err().contains("Which?\n  1  A"));
        assert_eq!(
            say(&["--answer", "1"], 1).unwrap().answers.unwrap(),
            [["A"]]
        );
        let two = say(&["--answer", r#"["a", ["x", "y"]]"#], 2).unwrap();
        assert_eq!(json!(two.answers), json!([["A"], ["x", "y"]]));
        assert!(
            say(&["--answer", "a"], 2)
                .unwrap_err()
                .contains("2 questions")
        );
        assert!(
            say(&["--answer", "[\"a\"]"], 2)
                .unwrap_err()
                .contains("holds 1")
        );
    }
}
