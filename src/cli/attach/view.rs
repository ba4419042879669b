//! What a person sees of the session, and how it stands. Pure: events in, text out.

use std::io::{self, Write as _};

use serde_json::Value;

use super::translate::{Translator, entry, notice};
use super::typed::Typed;
use crate::cli::render::{Transcript, summary};
use crate::event::{Event, NoticeLevel};
use crate::hub::StartError;
use crate::hub::controller::{Asked, Heard, History, Said};

/// The session as it is shown.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, in any combination
pub(super) struct View {
    transcript: Transcript,
    translator: Translator,
    is_busy: bool,
    is_led: bool,
    is_connected: bool,
    /// Questions without an answer, oldest first.
    asked: Vec<Asked>,
    /// Prompts of ours whose turns have not ended.
    prompts: usize,
    /// The turn that runs was asked for by somebody else, before our first prompt.
    is_others_turn: bool,
    /// The Hub's time of what was shown last; `None` before the first history.
    shown_to: Option<u64>,
    /// The session's task, shown before the lead has told of it.
    announced: Option<String>,
    /// Why nobody leads the session although that was asked for.
    failure: Option<String>,
    over: Option<StartError>,
}

/// Methods that only tell something: nobody waits for their answer.
const TELLING: [&str; 5] = [
    "notify",
    "setStatus",
    "setWidget",
    "setTitle",
    "set_editor_text",
];

impl View {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            transcript: Transcript::new(colour),
            translator: Translator::default(),
            is_busy: false,
            is_led: true,
            is_connected: false,
            asked: Vec::new(),
            prompts: 0,
            is_others_turn: false,
            shown_to: None,
            announced: None,
            failure: None,
            over: None,
        }
    }

    /// Whether the agent works.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether there is somebody to hear a prompt.
    pub(super) const fn is_led(&self) -> bool {
        self.is_led
    }

    /// Whether the history has come.
    pub(super) const fn is_there(&self) -> bool {
        self.shown_to.is_some()
    }

    /// Whether it is known how the session stands at this moment.
    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Why nobody leads the session although that was asked for.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Nobody will lead the session.
    pub(super) fn not_woken(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// Why there is nothing more to hear.
    pub(super) const fn over(&self) -> Option<&StartError> {
        self.over.as_ref()
    }

    /// A prompt was said: the agent will work, though nobody has told us yet.
    pub(super) fn said(&mut self, said: &Said) {
        if matches!(said, Said::Prompt(_)) {
            self.is_others_turn |= self.is_busy && self.prompts == 0;
            self.prompts += 1;
        }
    }

    /// Whether all that was asked of the agent is done.
    pub(super) const fn is_settled(&self) -> bool {
        !self.is_busy && self.prompts == 0
    }

    /// What stands before the prompt line.
    pub(super) fn mark(&self) -> &'static str {
        match () {
            () if !self.is_connected => "connecting> ",
            () if !self.asked.is_empty() => "asked> ",
            () if !self.is_led => "paused> ",
            () if self.is_busy => "working> ",
            () => "> ",
        }
    }

    /// Takes in what was heard; what is to be shown goes to `out`.
    pub(super) fn hear(&mut self, heard: Heard, out: &mut Vec<u8>) -> io::Result<()> {
        match heard {
            Heard::History(history) => self.history(&history, out),
            Heard::Event { name, data, at } => self.event(&name, &data, at, out),
            Heard::LeadCame => {
                self.is_led = true;
                self.failure = None;
                self.say(NoticeLevel::Info, "the session is led", out)
            }
            Heard::LeadLeft => {
                (self.is_led, self.is_busy) = (false, false);
                self.asked.clear();
                let words = "the session is paused: nobody leads it (/resume wakes it)";
                self.say(NoticeLevel::Warning, words, out)
            }
            Heard::Asked(asked) => self.ask(asked, out),
            Heard::Refused(why) => {
                self.prompts = 0;
                self.say(NoticeLevel::Error, &why, out)
            }
            Heard::Lost(why) => {
                let was_there = std::mem::take(&mut self.is_connected);
                let words = format!("{why}; trying again");
                // Each try after the first is no news.
                if was_there || self.shown_to.is_none() {
                    self.say(NoticeLevel::Warning, &words, out)?;
                }
                Ok(())
            }
            Heard::Over(why) => {
                self.over = Some(why);
                Ok(())
            }
        }
    }

    /// Shows a message of the command's own.
    pub(super) fn say(
        &mut self,
        level: NoticeLevel,
        text: &str,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.transcript.show(&notice(level, text), out)
    }

    fn history(&mut self, history: &History, out: &mut Vec<u8>) -> io::Result<()> {
        let seen = self.shown_to;
        let stamp = |entry: &Value| entry.get("timestamp").and_then(Value::as_u64).unwrap_or(0);
        if let (None, Some(label)) = (seen, &history.label) {
            writeln!(out, "{}", summary(label))?;
        }
        let is_prompt =
            |entry: &Value| entry.get("type").and_then(Value::as_str) == Some("user_prompt");
        if let (None, Some(task), false) =
            (seen, &history.task, history.entries.iter().any(is_prompt))
        {
            self.prompt(task, None, out)?;
            self.announced = Some(task.clone());
        }
        let news = |entry: &&Value| seen.is_none_or(|seen| stamp(entry) > seen);
        for past in history.entries.iter().filter(news) {
            for event in entry(past) {
                self.show(&event, out)?;
            }
        }
        let newest = history.entries.iter().map(stamp).max().unwrap_or(0);
        self.shown_to = Some(newest.max(seen.unwrap_or(0)));
        self.is_connected = true;
        (self.is_led, self.is_busy) = (history.is_led, history.is_busy);
        self.asked.clear();
        if !self.is_led {
            let words = "nobody leads this session: a prompt or /resume wakes it";
            self.say(NoticeLevel::Warning, words, out)?;
        }
        Ok(())
    }

    fn event(&mut self, name: &str, data: &Value, at: u64, out: &mut Vec<u8>) -> io::Result<()> {
        self.shown_to = Some(at.max(self.shown_to.unwrap_or(0)));
        match name {
            "session_error" if !self.is_led => {
                let why = data.get("error").and_then(Value::as_str);
                self.failure = Some(why.unwrap_or("the session has failed").to_owned());
            }
            "agent_start" => self.is_busy = true,
            "agent_end" => {
                self.is_busy = false;
                if !std::mem::take(&mut self.is_others_turn) {
                    self.prompts = self.prompts.saturating_sub(1);
                }
                self.asked.clear();
            }
            _ => {}
        }
        for event in self.translator.event(name, data) {
            self.show(&event, out)?;
        }
        Ok(())
    }

    fn show(&mut self, event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
        match event {
            Event::Prompt { text, author, .. } => match self.announced.take() {
                Some(task) if task == *text => Ok(()),
                _ => self.prompt(text, author.as_deref(), out),
            },
            event => self.transcript.show(event, out),
        }
    }

    /// A prompt, as it would stand on a prompt line; before it the name of whose it is, which a
    /// prompt of this terminal has not.
    fn prompt(&mut self, text: &str, author: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
        let first = match author {
            Some(name) => format!("{}>", summary(name)),
            None => ">".to_owned(),
        };
        for (index, line) in text.trim_end().lines().enumerate() {
            let mark = if index == 0 { &*first } else { " " };
            self.transcript
                .line_of_others(&format!("{mark} {line}"), out)?;
        }
        Ok(())
    }

    fn ask(&mut self, asked: Asked, out: &mut Vec<u8>) -> io::Result<()> {
        let text = |key: &str| asked.params.get(key).and_then(Value::as_str);
        let title = text("title").unwrap_or_default();
        let words = text("message")
            .or_else(|| text("statusText"))
            .unwrap_or_default();
        if TELLING.contains(&asked.method.as_str()) {
            // Answered by somebody else, or taken back.
            if let Some(over) = text("requestId") {
                let waited = self.asked.len();
                self.asked.retain(|asked| asked.id != over);
                if self.asked.len() == waited {
                    return Ok(());
                }
                let words = format!("the question {over} is answered, or needs no answer any more");
                return self.say(NoticeLevel::Info, &words, out);
            }
            let level = match text("notifyType") {
                Some("error") => NoticeLevel::Error,
                Some("warning") => NoticeLevel::Warning,
                _ => NoticeLevel::Info,
            };
            // Widgets, titles and texts for another kind of terminal.
            return match words {
                "" => Ok(()),
                words => self.say(level, words, out),
            };
        }
        if self.asked.iter().any(|known| known.id == asked.id) {
            return Ok(()); // asked again for somebody who has just come
        }
        let mut lines = vec![format!("? {}", join(title, words))];
        let options = asked.params.get("options").and_then(Value::as_array);
        for (index, option) in options.into_iter().flatten().enumerate() {
            let option = option.as_str().unwrap_or_default();
            lines.push(format!("  {} {option}", index + 1));
        }
        lines.push(match asked.method.as_str() {
            "confirm" => format!("  /approve or /deny ({})", asked.id),
            "select" => format!("  /answer NUMBER, or /deny ({})", asked.id),
            _ => format!("  /answer TEXT, or /deny ({})", asked.id),
        });
        for line in lines {
            self.say(NoticeLevel::Warning, &line, out)?;
        }
        self.asked.push(asked);
        Ok(())
    }

    /// The answer that a line gives to a question, or why it gives none.
    pub(super) fn answer(&mut self, typed: &Typed) -> Result<Said, String> {
        let wanted = match typed {
            Typed::Approve(id) | Typed::Deny(id) => id.as_deref(),
            _ => None,
        };
        let index = match wanted {
            Some(id) => self.asked.iter().position(|asked| asked.id == id),
            None => (!self.asked.is_empty()).then_some(0),
        };
        let Some((index, asked)) = index.and_then(|index| Some((index, self.asked.get(index)?)))
        else {
            return Err(match wanted {
                Some(id) => format!("nothing is asked by the name {id}"),
                None => "nothing is asked".to_owned(),
            });
        };
        let result = result(asked, typed)?;
        let id = self.asked.remove(index).id;
        Ok(Said::Answer { id, result })
    }
}

/// What the question's method takes for that line.
fn result(asked: &Asked, typed: &Typed) -> Result<Value, String> {
    let options = || asked.params.get("options").and_then(Value::as_array);
    match (asked.method.as_str(), typed) {
        ("confirm", Typed::Approve(_)) => Ok(true.into()),
        ("confirm", Typed::Deny(_)) => Ok(false.into()),
        ("confirm", _) => Err("this is answered by /approve or /deny".to_owned()),
        (_, Typed::Deny(_)) => Ok(Value::Null),
        ("select", Typed::Answer(text)) => {
            let options = options().ok_or("there is nothing to choose from")?;
            let number = text.parse::<usize>().ok();
            let by_number = number.and_then(|number| options.get(number.checked_sub(1)?));
            let by_name = || options.iter().find(|option| option.as_str() == Some(text));
            let chosen = by_number.or_else(by_name).cloned();
            chosen.ok_or_else(|| format!("choose by a number from 1 to {}", options.len()))
        }
        ("select", _) => Err("this is a choice: /answer NUMBER".to_owned()),
        (_, Typed::Answer(text)) => Ok(text.clone().into()),
        _ => Err("this wants words: /answer TEXT".to_owned()),
    }
}

fn join(title: &str, words: &str) -> String {
    match (title, words) {
        ("", words) => words.to_owned(),
        (title, "") => title.to_owned(),
        (title, words) if title.ends_with('?') => format!("{title} {words}"),
        (title, words) => format!("{title}: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(view: &mut View, heard: Heard) -> String {
        let mut out = Vec::new();
        view.hear(heard, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn history(entries: &[Value]) -> Heard {
        Heard::History(History {
            label: Some("A session".to_owned()),
            task: Some("Do it".to_owned()),
            entries: entries.to_vec(),
            is_led: true,
            is_busy: false,
        })
    }

    fn event(name: &str, data: Value, at: u64) -> Heard {
        Heard::Event {
            name: name.to_owned(),
            data,
            at,
        }
    }

    #[test]
    fn what_was_shown_is_not_shown_again_after_a_lost_connection() {
        let mut view = View::new(false);
        let prompt = json!({"type": "user_prompt", "content": "Do it", "timestamp": 1});
        let text = shown(&mut view, history(std::slice::from_ref(&prompt)));
        assert_eq!(text, "A session\n> Do it\n");
        let user = json!({"message": {"role": "user", "content": "More"}});
        assert_eq!(shown(&mut view, event("message_end", user, 2)), "> More\n");
        let by = json!({"displayName": "Ada L.", "email": "ada@example.com"});
        let other = json!({"message": {"role": "user", "content": "And\nthis", "author": by}});
        let text = shown(&mut view, event("message_end", other, 2));
        assert_eq!(text, "Ada L.> And\n  this\n");
        assert!(shown(&mut view, Heard::Lost("gone".to_owned())).contains("gone"));
        assert_eq!(view.mark(), "connecting> ");
        assert_eq!(shown(&mut view, Heard::Lost("gone".to_owned())), "");
        let more = json!({"type": "user_prompt", "content": "More", "timestamp": 2});
        let said = json!({"type": "message", "content": "Yes.", "timestamp": 3});
        let text = shown(&mut view, history(&[prompt, more, said]));
        assert_eq!(text, "Yes.\n");
    }

    #[test]
    fn questions_are_answered_in_their_order_or_by_name() {
        let mut view = View::new(false);
        let ask = |id: &str, method: &str, params: Value| {
            let Value::Object(params) = params else {
                panic!("no object")
            };
            Heard::Asked(Asked {
                id: id.to_owned(),
                method: method.to_owned(),
                params,
            })
        };
        let text = shown(
            &mut view,
            ask("a", "confirm", json!({"title": "Run", "message": "ls"})),
        );
        assert!(
            text.contains("? Run: ls") && text.contains("/approve"),
            "{text}"
        );
        shown(
            &mut view,
            ask(
                "b",
                "select",
                json!({"title": "Which", "options": ["x", "y"]}),
            ),
        );
        shown(&mut view, ask("c", "input", json!({"title": "Name"})));
        let answer = |id: &str, result: Value| {
            Ok(Said::Answer {
                id: id.to_owned(),
                result,
            })
        };
        assert_eq!(
            view.answer(&Typed::Deny(Some("c".to_owned()))),
            answer("c", Value::Null)
        );
        assert_eq!(view.answer(&Typed::Approve(None)), answer("a", json!(true)));
        assert!(view.answer(&Typed::Answer("7".to_owned())).is_err());
        assert_eq!(
            view.answer(&Typed::Answer("2".to_owned())),
            answer("b", json!("y"))
        );
        assert!(view.answer(&Typed::Approve(None)).is_err());

        // Asked again, as for somebody who has just come; then answered by them.
        let again = ask("d", "confirm", json!({"title": "Run"}));
        assert!(shown(&mut view, again.clone()).contains("? Run"));
        assert_eq!(shown(&mut view, again), "");
        let over = ask(
            "n",
            "setStatus",
            json!({"statusKey": "question", "requestId": "d"}),
        );
        assert!(shown(&mut view, over.clone()).contains("the question d is answered"));
        assert_eq!(shown(&mut view, over), "", "it was answered here");
        assert!(view.answer(&Typed::Approve(None)).is_err());
    }

    #[test]
    fn only_the_end_of_our_own_turn_settles_our_prompt() {
        let mut view = View::new(false);
        shown(&mut view, history(&[]));
        assert!(view.is_settled());
        let (start, end) = (
            event("agent_start", json!({}), 1),
            event("agent_end", json!({}), 2),
        );
        shown(&mut view, start.clone());
        view.said(&Said::Prompt("Do more".to_owned()));
        shown(&mut view, end.clone());
        assert!(!view.is_settled(), "that was the turn of somebody else");
        shown(&mut view, start);
        shown(&mut view, end);
        assert!(view.is_settled());
        view.said(&Said::Prompt("And more".to_owned()));
        assert!(!view.is_settled());
        shown(&mut view, Heard::Refused("busy".to_owned()));
        assert!(view.is_settled());
    }

    #[test]
    fn the_mark_says_how_the_session_stands() {
        let mut view = View::new(false);
        assert_eq!(view.mark(), "connecting> ");
        shown(&mut view, history(&[]));
        assert_eq!(view.mark(), "> ");
        shown(&mut view, event("agent_start", json!({}), 1));
        assert_eq!(view.mark(), "working> ");
        shown(&mut view, Heard::LeadLeft);
        assert_eq!(view.mark(), "paused> ");
    }
}
