//! Events as lines that are the same for every agent: what may differ is left out or masked, and
//! nothing else is.
//!
//! Left out: ids, times, counts of tokens, how a call's input and output grew (`tool_delta`),
//! stderr, fields of inputs that the vocabulary does not name, line ends at the end of an output,
//! the calls by which a plan is written, notices that repeat one right before them. Masked: the working directory, the names of MCP tools,
//! what tools other than the shell say about their work, the words of errors. The calls of the
//! part `parallel` are in alphabetical order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The events of one part of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) lines: Vec<String>,
    /// How many calls the model makes in it.
    calls: usize,
}

/// How events are listed.
#[derive(Default)]
pub(crate) struct Rules<'a> {
    /// The name of what stands before the first mark, and then of what each next prompt begins.
    pub(crate) names: &'a [&'a str],
    /// The working directory.
    pub(crate) cwd: String,
    /// Whether a text may come after the calls of the same reply, and a retry's notice at the end.
    pub(crate) unordered: bool,
    /// Texts that the CLI printed; long outputs are not shown but looked for in them.
    pub(crate) printed: Option<BTreeSet<String>>,
}

/// What begins the mark of a part in the agent's text.
const MARK: &str = "§ ";
/// Outputs beyond this are long.
const LONG: usize = 1000;

/// The parts of the events.
pub(crate) fn parts(events: &[Value], rules: Rules<'_>) -> Vec<Part> {
    let mut listing = Listing::new(events, rules);
    for event in events {
        listing.add(event);
        listing.place += 1;
    }
    listing.finish()
}

struct Listing<'a> {
    rules: Rules<'a>,
    parts: Vec<Part>,
    prompts: usize,
    /// The CLI's own id of its session.
    session: Option<String>,
    /// Messages that were taken back, and where: what comes of them behind that is valid.
    retracted: Vec<(usize, String)>,
    /// The place of the event that is being added.
    place: usize,
    text: Text,
    /// How far each call is indented, by its id; none for one that is not listed.
    calls: BTreeMap<String, Option<&'static str>>,
    usage: bool,
}

/// Pieces that are still being joined.
#[derive(Default)]
struct Text {
    kind: &'static str,
    parent: bool,
    pieces: usize,
    joined: String,
}

impl<'a> Listing<'a> {
    fn new(events: &[Value], rules: Rules<'a>) -> Self {
        let retracted = events
            .iter()
            .enumerate()
            .filter(|(_, event)| event["type"] == "text_retracted");
        let retracted = retracted.filter_map(|(place, event)| {
            let message = event["message_id"].as_str()?;
            Some((place, message.to_owned()))
        });
        Self {
            retracted: retracted.collect(),
            place: 0,
            rules,
            parts: Vec::new(),
            prompts: 0,
            session: None,
            text: Text::default(),
            calls: BTreeMap::new(),
            usage: false,
        }
    }

    fn add(&mut self, event: &Value) {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        match text("type") {
            "token" => self.add_text("text", event),
            "thinking" => self.add_text("thinking", event),
            "usage" => self.usage = event["output_tokens"].as_u64() > Some(0),
            "text_retracted" | "tool_delta" | "context" | "rate_limit" => {}
            "raw" if text("stream") == "stderr" => {}
            "notice" if self.prompts == 0 => {} // about the program, before any turn
            "prompt" => self.prompt(text("text")),
            "session" => self.session(text("id"), event["model"].is_string()),
            "tool_start" => self.start(event),
            "tool_end" => self.end_of_call(event),
            "file_change" => self.file_change(event),
            "plan" => self.plan(event),
            "notice" => self.notice(format!("notice {} {}", text("level"), text("code"))),
            "agent_crashed" => self.line("crashed".to_owned()),
            "end" => self.end(event),
            other => self.line(format!("{other} {}", text("text")).trim_end().to_owned()),
        }
    }

    fn prompt(&mut self, text: &str) {
        self.flush();
        let name = self.rules.names.get(self.prompts).copied();
        self.parts.push(Part {
            name: name.expect("no more prompts than names").to_owned(),
            lines: Vec::new(),
            calls: 0,
        });
        self.prompts += 1;
        self.line(format!("prompt {text:?}"));
    }

    fn session(&mut self, id: &str, model: bool) {
        let last = self.parts.last().and_then(|part| part.lines.last());
        let is_again = last.is_some_and(|line| line.starts_with("session"));
        if is_again && model && self.session.as_deref() == Some(id) {
            // Pi says which model it runs once that speaks.
            return;
        }
        let line = match &self.session {
            None => "session",
            Some(known) if known == id => "session, the same",
            Some(_) => "session, another one",
        };
        self.session = Some(id.to_owned());
        self.line(line.to_owned());
    }

    /// How often a CLI tries again is up to its settings.
    fn notice(&mut self, line: String) {
        self.flush();
        let lines = &self.parts.last().unwrap().lines;
        let notices = lines
            .iter()
            .rev()
            .take_while(|line| line.starts_with("notice"));
        if notices.into_iter().all(|notice| *notice != line) {
            self.push(line);
        }
    }

    fn file_change(&mut self, event: &Value) {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        let changes: Vec<_> = text("diff")
            .lines()
            .filter(|line| is_change(line))
            .collect();
        let mut line = format!("  file {} {}", text("kind"), self.here(text("path")));
        if !changes.is_empty() {
            write!(line, " {:?}", changes.join("\n")).unwrap();
        }
        self.line(line);
    }

    /// A plan is shown whole each time: the last one counts.
    fn plan(&mut self, event: &Value) {
        self.flush();
        let mut line = "plan".to_owned();
        for item in event["items"].as_array().into_iter().flatten() {
            let (status, text) = (item["status"].as_str(), item["text"].as_str());
            write!(line, " [{}] {}", status.unwrap_or("?"), text.unwrap_or("?")).unwrap();
        }
        self.parts
            .last_mut()
            .unwrap()
            .lines
            .retain(|line| !line.starts_with("plan "));
        self.line(line);
    }

    fn end(&mut self, event: &Value) {
        if std::mem::take(&mut self.usage) {
            self.line("usage".to_owned());
        }
        let class = event["error"]["class"].as_str().unwrap_or_default();
        let outcome = event["outcome"].as_str().unwrap_or_default();
        self.line(format!("end {outcome} {class}").trim_end().to_owned());
    }

    fn add_text(&mut self, kind: &'static str, event: &Value) {
        let id = event["message_id"].as_str();
        let is_gone = |(place, gone): &(usize, String)| *place > self.place && id == Some(gone);
        if self.retracted.iter().any(is_gone) {
            return;
        }
        let parent = event["parent_call_id"].is_string();
        if (self.text.kind, self.text.parent) != (kind, parent) {
            self.flush();
            (self.text.kind, self.text.parent) = (kind, parent);
        }
        self.text.pieces += 1;
        self.text.joined.push_str(event["text"].as_str().unwrap());
    }

    fn start(&mut self, event: &Value) {
        let id = event["call_id"].as_str().unwrap().to_owned();
        let name = tool_name(event["name"].as_str().unwrap());
        let inside = if event["parent_call_id"].is_string() {
            "    "
        } else {
            ""
        };
        let listed = name != "plan";
        if listed {
            let input = self.here(&input(&name, &event["input"]));
            self.line(format!("{inside}call {name} {input}"));
        }
        self.calls.insert(id, listed.then_some(inside));
    }

    fn end_of_call(&mut self, event: &Value) {
        let name = tool_name(event["name"].as_str().unwrap());
        let id = event["call_id"].as_str().unwrap();
        let Some(inside) = self.calls.get(id).copied().unwrap_or(Some("unknown ")) else {
            return;
        };
        let mut line = format!("{inside}  done {name}");
        if event["is_error"] == true {
            line.push_str(" failed");
        }
        if let Some(code) = event["exit_code"].as_i64().filter(|_| name == "shell") {
            write!(line, " exit={code}").unwrap();
        }
        line.push_str(&self.output(&name, event));
        let line = self.here(&line);
        self.line(line);
    }

    /// The output of a command, or of an MCP server, as it is; of other tools, whether there is one.
    fn output(&self, name: &str, event: &Value) -> String {
        let Some(output) = event["output"].as_str().filter(|output| !output.is_empty()) else {
            return " without output".to_owned();
        };
        match (name, &self.rules.printed) {
            ("shell", Some(printed)) if output.len() > LONG => {
                let is_whole = LONG_OUTPUTS
                    .iter()
                    .any(|whole| whole() == output.trim_end());
                let size = if is_whole { "whole" } else { "shortened" };
                let printed = printed.contains(output);
                let origin = if printed {
                    "as the CLI printed it"
                } else {
                    "NOT as the CLI printed it"
                };
                format!(" {size}, {origin}")
            }
            ("shell" | "mcp", _) => format!(" {:?}", output.trim_end()),
            ("read", _) if output.contains("alpha") => " with the content".to_owned(),
            _ => " with output".to_owned(),
        }
    }

    fn here(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.rules.cwd), "")
    }

    fn line(&mut self, line: String) {
        self.flush();
        self.parts.last_mut().unwrap().lines.push(line);
    }

    /// Ends the text that is being joined; marks in it begin new parts.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let inside = if text.parent { "    " } else { "" };
        let mut rest = text.joined.as_str();
        while let Some((before, after)) = rest.split_once(MARK) {
            if !before.is_empty() {
                self.add_line_of_text(format!("{inside}{} {before:?}", text.kind));
            }
            let (mark, after) = after.split_once(": ").expect("a mark has a name");
            let (name, calls) = mark.split_once('/').unwrap_or((mark, "1"));
            self.begin(name, calls.parse().unwrap());
            rest = after;
        }
        if rest.is_empty() {
            return;
        }
        self.add_line_of_text(format!("{inside}{} {rest:?}", text.kind));
        let part = self.parts.last_mut().unwrap();
        if part.name == "text" && text.kind == "text" && text.pieces > 1 {
            part.lines.push("(in pieces)".to_owned());
        }
    }

    /// Where texts may be late, before the calls of the same reply.
    fn add_line_of_text(&mut self, line: String) {
        let part = self.parts.last_mut().unwrap();
        let calls = part.lines.iter().position(|line| starts_call(line));
        let may_be_late = self.rules.unordered && part.calls > 0;
        let is_first = may_be_late && !part.lines.iter().any(|line| line.starts_with("text"));
        let place = calls.filter(|_| is_first).unwrap_or(part.lines.len());
        part.lines.insert(place, line);
    }

    /// Begins a part; what came before the text that leads to it belongs to it.
    fn begin(&mut self, name: &str, calls: usize) {
        let mut part = Part {
            name: name.to_owned(),
            lines: Vec::new(),
            calls,
        };
        if let Some(last) = self.parts.last_mut() {
            let from = if self.rules.unordered {
                after_calls(last)
            } else {
                last.lines.len()
            };
            part.lines = last.lines.split_off(from);
            let leads = |line: &mut String| {
                line.starts_with("thinking") || line.starts_with("notice warning")
            };
            while let Some(line) = last.lines.pop_if(leads) {
                part.lines.insert(0, line);
            }
        }
        self.parts.push(part);
    }

    fn push(&mut self, line: String) {
        self.parts.last_mut().unwrap().lines.push(line);
    }

    /// Whether a retry is told at once or at the end is up to chance too.
    fn delay_retries(&mut self) {
        const RETRY: &str = "notice warning api_retry";
        let mut found = false;
        for part in &mut self.parts {
            found |= part.lines.iter().any(|line| line == RETRY);
            part.lines.retain(|line| line != RETRY);
        }
        let last = &mut self.parts.last_mut().unwrap().lines;
        let ends = |line: &String| line == "usage" || line.starts_with("end ");
        let place = last.iter().position(ends).unwrap_or(last.len());
        if found {
            last.insert(place, RETRY.to_owned());
        }
    }

    fn finish(mut self) -> Vec<Part> {
        self.flush();
        if self.rules.unordered {
            self.delay_retries();
        }
        for part in &mut self.parts {
            if part.name == "parallel" {
                part.lines[1..].sort();
            }
        }
        self.parts
    }
}

/// A plan stands for the call that wrote it.
fn starts_call(line: &str) -> bool {
    line.starts_with("call ") || line.starts_with("plan ")
}

/// Where the first call stands that is one more than the part has.
fn after_calls(part: &Part) -> usize {
    let is_call = |(_, line): &(usize, &String)| starts_call(line);
    let mut calls = part.lines.iter().enumerate().filter(is_call);
    calls
        .nth(part.calls)
        .map_or(part.lines.len(), |(index, _)| index)
}

/// The outputs of the commands that print a lot.
const LONG_OUTPUTS: [fn() -> String; 2] = [
    || {
        (1..=20_000)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    },
    || "x".repeat(100_000),
];

/// A line of a diff that adds or removes something.
fn is_change(line: &str) -> bool {
    (line.starts_with('+') && !line.starts_with("+++"))
        || (line.starts_with('-') && !line.starts_with("---"))
}

/// CLIs put the server's name and the tool's together in ways of their own.
fn tool_name(name: &str) -> String {
    let is_mcp = name.contains("lab") && name.ends_with("echo");
    let is_plan = ["TaskCreate", "TaskUpdate", "update_plan", "todowrite"].contains(&name);
    match name {
        _ if is_mcp => "mcp".to_owned(),
        _ if is_plan => "plan".to_owned(),
        name => name.to_owned(),
    }
}

/// The fields of an input that the vocabulary names; all of it for an MCP tool.
fn input(name: &str, input: &Value) -> String {
    let known: &[&str] = match name {
        "shell" => &["command"],
        "read" | "edit" => &["file_path"],
        "write" => &["file_path", "content", "kind"],
        "glob" | "grep" => &["pattern"],
        "mcp" => return input.to_string(),
        _ => &[],
    };
    let field = |name: &&str| Some(((*name).to_owned(), input.get(name)?.clone()));
    Value::Object(known.iter().filter_map(field).collect::<Map<_, _>>()).to_string()
}
