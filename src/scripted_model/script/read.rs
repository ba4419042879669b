//! From TOML to scenarios: every rule of the format that a type cannot hold.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{Fault, Table, json};
use super::{
    Cause, Cut, CutKind, Failure, FailureKind, Pace, Reply, Scenario, Step, Stop, Tool, Usage,
};

/// The scenarios of a script.
pub(super) fn scenarios(text: &str) -> Result<Vec<Scenario>, Fault> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Fault::new(at, format!("not TOML: {}", error.message()))
    })?;
    let top = Table::new("the script", 0, document.get_ref(), &["reply", "scenario"])?;
    let mut scenarios = Vec::new();
    for value in top.list("scenario")?.unwrap_or_default() {
        let scenario = scenario(value)?;
        if scenario.matches.is_none() && scenarios.iter().any(matches_everything) {
            return Err(Fault::new(
                value.span().start,
                "a second scenario without `match` would never be played; give it one",
            ));
        }
        scenarios.push(scenario);
    }
    if let Some(list) = top.list("reply")? {
        if scenarios.iter().any(matches_everything) {
            return Err(Fault::new(
                top.place("reply"),
                "top-level replies and a scenario without `match` would both answer every prompt; keep one",
            ));
        }
        scenarios.push(Scenario {
            matches: None,
            replies: replies(list)?,
        });
    }
    if scenarios.is_empty() {
        return Err(Fault::new(
            0,
            "the script is empty; write at least one [[reply]] or [[scenario]]",
        ));
    }
    Ok(scenarios)
}

fn matches_everything(scenario: &Scenario) -> bool {
    scenario.matches.is_none()
}

fn scenario<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Scenario, Fault> {
    let table = Table::from_value("a scenario", value, &["match", "reply"])?;
    let matches = table.text("match")?;
    if matches.as_deref() == Some("") {
        return Err(Fault::new(
            table.place("match"),
            "`match` is empty; leave it out to answer every prompt",
        ));
    }
    let list = table
        .list("reply")?
        .ok_or_else(|| Fault::new(table.at, "a scenario needs at least one reply"))?;
    Ok(Scenario {
        matches,
        replies: replies(list)?,
    })
}

fn replies<'a>(list: &'a [Spanned<DeValue<'a>>]) -> Result<Vec<Reply>, Fault> {
    list.iter().map(reply).collect()
}

fn reply<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Reply, Fault> {
    let known = ["delay_ms", "fail", "cut", "steps", "stop", "usage"];
    let table = Table::from_value("a reply", value, &known)?;
    let failure = table.value("fail").map(failure).transpose()?;
    let cut = table.value("cut").map(cut).transpose()?;
    let steps = match table.list("steps")? {
        Some(list) => Some(list.iter().map(step).collect::<Result<Vec<_>, _>>()?),
        None => None,
    };
    let fails_always = failure.as_ref().is_some_and(|fail| fail.times.is_none());
    match (&steps, fails_always) {
        (None, false) => Err(Fault::new(
            table.at,
            "a reply needs `steps` (`steps = []` is an empty reply) or a `fail` without `times`",
        )),
        (Some(_), true) => Err(Fault::new(
            table.place("steps"),
            "these steps would never be played: `fail` needs `times` to ever stop failing",
        )),
        _ => Ok(Reply {
            delay: milliseconds(&table, "delay_ms")?,
            failure,
            cut,
            steps: steps.unwrap_or_default(),
            stop: stop(&table)?,
            usage: table
                .value("usage")
                .map(usage)
                .transpose()?
                .unwrap_or_default(),
        }),
    }
}

fn stop(table: &Table<'_>) -> Result<Option<Stop>, Fault> {
    table
        .text("stop")?
        .map(|text| match text.as_str() {
            "end_turn" => Ok(Stop::EndTurn),
            "tool_use" => Ok(Stop::ToolUse),
            "max_tokens" => Ok(Stop::MaxTokens),
            "refusal" => Ok(Stop::Refusal),
            other => Err(Fault::new(
                table.place("stop"),
                format!("`stop` is end_turn, tool_use, max_tokens or refusal, not `{other}`"),
            )),
        })
        .transpose()
}

fn usage<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Usage, Fault> {
    let known = ["input", "output", "reasoning", "cache_read", "cache_write"];
    let table = Table::from_value("usage", value, &known)?;
    let count = |key| table.number(key).map(Option::unwrap_or_default);
    let (output, reasoning) = (count("output")?, count("reasoning")?);
    if reasoning > output {
        return Err(Fault::new(
            table.place("reasoning"),
            "`reasoning` is a part of `output` and cannot be more",
        ));
    }
    Ok(Usage {
        input: count("input")?,
        output,
        reasoning,
        cache_read: count("cache_read")?,
        cache_write: count("cache_write")?,
    })
}

fn failure<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Failure, Fault> {
    let known = ["status", "cause", "type", "message", "retry_after", "times"];
    let table = Table::from_value("fail", value, &known)?;
    let kind = match table.text("cause")? {
        Some(name) => FailureKind::Cause(cause(&name, &table)?),
        None => FailureKind::Status {
            status: status(&table)?,
            name: table.text("type")?,
        },
    };
    Ok(Failure {
        kind,
        message: table.text("message")?,
        retry_after: table.number("retry_after")?,
        times: times(&table)?,
    })
}

fn status(table: &Table<'_>) -> Result<u16, Fault> {
    table
        .number("status")?
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| (400..600).contains(status))
        .ok_or_else(|| {
            Fault::new(
                table.place("status"),
                "`fail` needs a `status` from 400 to 599, or a `cause`",
            )
        })
}

fn cause(name: &str, table: &Table<'_>) -> Result<Cause, Fault> {
    if let Some(key) = ["status", "type"].into_iter().find(|key| table.has(key)) {
        return Err(Fault::new(
            table.place(key),
            format!("`{key}` follows from `cause`; keep one of the two"),
        ));
    }
    match name {
        "context_overflow" => Ok(Cause::ContextOverflow),
        "quota" => Ok(Cause::Quota),
        "model_not_found" => Ok(Cause::ModelNotFound),
        other => Err(Fault::new(
            table.place("cause"),
            format!("`cause` is context_overflow, quota or model_not_found, not `{other}`"),
        )),
    }
}

fn cut<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Cut, Fault> {
    let table = Table::from_value("cut", value, &["after", "how", "times"])?;
    let how = match table.text("how")?.as_deref() {
        None | Some("reset") => CutKind::Reset,
        Some("end") => CutKind::End,
        Some("error") => CutKind::Error,
        Some(other) => {
            return Err(Fault::new(
                table.place("how"),
                format!("`how` is reset, end or error, not `{other}`"),
            ));
        }
    };
    let after = table.number("after")?.unwrap_or_default();
    Ok(Cut {
        after: usize::try_from(after).unwrap_or(usize::MAX),
        how,
        times: times(&table)?,
    })
}

fn times(table: &Table<'_>) -> Result<Option<NonZeroU32>, Fault> {
    table
        .number("times")?
        .map(|times| {
            u32::try_from(times)
                .ok()
                .and_then(NonZeroU32::new)
                .ok_or_else(|| {
                    Fault::new(
                        table.place("times"),
                        "`times` is at least 1; leave it out for always",
                    )
                })
        })
        .transpose()
}

/// The key that makes a step what it is, and the keys that may stand beside it.
const STEPS: [(&str, &[&str]); 11] = [
    ("say", &["chunk", "pause_ms"]),
    ("think", &["chunk", "pause_ms"]),
    ("wait_ms", &[]),
    ("shell", &["chunk", "pause_ms"]),
    ("read", &["chunk", "pause_ms"]),
    ("write", &["content", "chunk", "pause_ms"]),
    ("edit", &["old", "new", "chunk", "pause_ms"]),
    ("fetch", &["question", "chunk", "pause_ms"]),
    ("agent", &["title", "chunk", "pause_ms"]),
    ("mcp", &["input", "chunk", "pause_ms"]),
    ("tool", &["input", "chunk", "pause_ms"]),
];

const STEP_KEYS: [&str; 19] = [
    "say", "think", "wait_ms", "shell", "read", "write", "content", "edit", "old", "new", "fetch",
    "question", "agent", "title", "mcp", "tool", "input", "chunk", "pause_ms",
];

fn step<'a>(value: &'a Spanned<DeValue<'a>>) -> Result<Step, Fault> {
    let table = Table::from_value("a step", value, &STEP_KEYS)?;
    let mut verbs = STEPS.iter().filter(|(verb, _)| table.has(verb));
    let (Some((verb, beside)), None) = (verbs.next(), verbs.next()) else {
        let names: Vec<_> = STEPS.iter().map(|(verb, _)| *verb).collect();
        return Err(Fault::new(
            table.at,
            format!("a step has exactly one of {}", names.join(", ")),
        ));
    };
    if let Some(stray) = STEP_KEYS
        .iter()
        .find(|key| *key != verb && table.has(key) && !beside.contains(key))
    {
        return Err(Fault::new(
            table.place(stray),
            format!("`{stray}` does not belong to a step with `{verb}`"),
        ));
    }
    let pace = pace(&table)?;
    Ok(match *verb {
        "say" => Step::Say(table.required_text("say")?, pace),
        "think" => Step::Think(table.required_text("think")?, pace),
        "wait_ms" => Step::Wait(milliseconds(&table, "wait_ms")?),
        call => Step::Call(tool(call, &table)?, pace),
    })
}

fn tool(verb: &str, table: &Table<'_>) -> Result<Tool, Fault> {
    let subject = table.required_text(verb)?;
    Ok(match verb {
        "shell" => Tool::Shell { command: subject },
        "read" => Tool::Read { path: subject },
        "write" => Tool::Write {
            path: subject,
            content: table.required_text("content")?,
        },
        "edit" => Tool::Edit {
            path: subject,
            old: table.required_text("old")?,
            new: table.required_text("new")?,
        },
        "fetch" => Tool::Fetch {
            url: subject,
            question: table
                .text("question")?
                .unwrap_or_else(|| "What does this page say?".to_owned()),
        },
        "agent" => Tool::Agent {
            prompt: subject,
            title: table
                .text("title")?
                .unwrap_or_else(|| "Scripted task".to_owned()),
        },
        "mcp" => {
            let (server, tool) = subject
                .split_once('/')
                .filter(|(server, tool)| !server.is_empty() && !tool.is_empty())
                .ok_or_else(|| {
                    let at = table.place("mcp");
                    Fault::new(at, "`mcp` names a tool as \"server/tool\"")
                })?;
            Tool::Mcp {
                server: server.to_owned(),
                tool: tool.to_owned(),
                input: arguments(table)?,
            }
        }
        _ => Tool::Native {
            name: subject,
            input: arguments(table)?,
        },
    })
}

fn arguments(table: &Table<'_>) -> Result<serde_json::Value, Fault> {
    match table.value("input") {
        Some(input) if input.get_ref().is_table() => json(input),
        Some(input) => Err(Fault::new(
            input.span().start,
            "`input` must be a table: the arguments of the tool",
        )),
        None => Ok(serde_json::json!({})),
    }
}

fn pace(table: &Table<'_>) -> Result<Pace, Fault> {
    let chunk = match table.number("chunk")? {
        None => None,
        Some(chunk) => Some(
            usize::try_from(chunk)
                .ok()
                .and_then(NonZeroUsize::new)
                .ok_or_else(|| Fault::new(table.place("chunk"), "`chunk` is at least 1"))?,
        ),
    };
    Ok(Pace {
        chunk,
        pause: milliseconds(table, "pause_ms")?,
    })
}

fn milliseconds(table: &Table<'_>, key: &str) -> Result<Duration, Fault> {
    Ok(Duration::from_millis(
        table.number(key)?.unwrap_or_default(),
    ))
}
