//! What the agent has shown of a turn so far: which of its prompts it has taken up, and which tool
//! calls are open. What a turn goes on with after an interruption follows from that. Pure: the
//! same events give the same, whether they come from an agent or from the journal.

use crate::event::{CrashCause, Event, TAKEN_UP};
use crate::image::ImageNote;
use crate::turn::activity::Activity;
use crate::turn::call::one_line;

/// The most open calls that are remembered; an agent that has more is told of these.
const CALLS: usize = 16;

/// What the agent is told when its turn goes on after something cut it off.
const CONTINUE: &str = "Your previous turn was cut off before it was done. Look at the state of \
                        the work first, then go on where it stopped.";

/// What was seen of one turn, over all of its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Prompts that the current attempt was given and has not shown to have taken up.
    told: Vec<Said>,
    /// Prompts that came while the attempt ran: only the next one gets them.
    waiting: Vec<Said>,
    /// Whether there was a prompt.
    began: bool,
    shown: Shown,
    /// Whether the turn was cut off since the agent last showed anything.
    cut_off: bool,
    /// The calls that were cut off with it.
    cut_calls: Vec<String>,
    /// Calls without an end: their ids and what they are.
    open: Vec<(String, String)>,
    /// Ids of prompts that are among these.
    prompt_ids: Vec<String>,
    activity: Activity,
    crashes: u32,
    ooms: u32,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its words.
    pub text: String,
    /// The images that go with them.
    pub images: Vec<ImageNote>,
}

/// When the agent last showed anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    Never,
    InAnEarlierAttempt,
    InThisAttempt,
}

impl Seen {
    /// An attempt begins, which is told [`Seen::next_prompt`].
    pub fn begin_attempt(&mut self) {
        self.told.append(&mut self.waiting);
        self.activity = Activity::default();
        if self.shown == Shown::InThisAttempt {
            self.shown = Shown::InAnEarlierAttempt;
        }
    }

    /// Takes the turn's next event.
    pub fn event(&mut self, event: &Event) {
        self.activity.event(event);
        match event {
            Event::Prompt {
                text,
                prompt_id,
                images,
                ..
            } => {
                self.prompt_ids.extend(prompt_id.clone());
                // A turn begins with its prompt; the others come in its middle.
                let list = if self.began {
                    &mut self.waiting
                } else {
                    &mut self.told
                };
                list.push(Said {
                    text: text.clone(),
                    images: images.clone(),
                });
                self.began = true;
            }
            Event::ToolStart {
                call_id,
                name,
                input,
                ..
            } => {
                self.heard();
                if self.open.len() < CALLS {
                    self.open.push((call_id.clone(), one_line(name, input)));
                }
            }
            Event::ToolEnd {
                call_id,
                output,
                is_error,
                ..
            } => {
                if let Some(at) = self.open.iter().position(|(id, _)| id == call_id) {
                    let (_, call) = self.open.remove(at);
                    // An adapter ends what the process left open with an error without output.
                    if *is_error && output.is_none() {
                        self.cut_calls.push(call);
                    }
                }
            }
            Event::Token { .. }
            | Event::Thinking { .. }
            | Event::ToolDelta { .. }
            | Event::FileChange { .. }
            | Event::Session { at_work: true, .. }
            | Event::Plan { .. } => self.heard(),
            Event::Notice { code, .. } if code == TAKEN_UP => self.heard(),
            Event::AgentCrashed { cause, .. } => self.crash(*cause),
            _ => {}
        }
    }

    /// The agent shows that it is at work: it has all that it was told.
    fn heard(&mut self) {
        self.shown = Shown::InThisAttempt;
        self.told.clear();
        self.cut_calls.clear();
        self.cut_off = false;
    }

    fn crash(&mut self, cause: CrashCause) {
        self.crashes += 1;
        self.ooms += u32::from(cause == CrashCause::Oom);
        self.interrupted();
    }

    /// The agent's process is gone, and the agent did not choose to end there.
    pub fn interrupted(&mut self) {
        self.cut_calls
            .extend(self.open.drain(..).map(|(_, call)| call));
        self.cut_off = true;
    }

    /// A message that came while the attempt ran was taken up: the agent knows it.
    pub fn taken_up(&mut self, text: &str) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.text == text) {
            self.told.push(self.waiting.remove(at));
        }
    }

    /// Of the messages that came while the attempt ran, the agent has taken up all but these.
    pub fn waits_for<'a>(&mut self, open: impl Iterator<Item = &'a str>) {
        let open: Vec<&str> = open.collect();
        self.waiting
            .retain(|said| open.contains(&said.text.as_str()));
    }

    /// Whether a prompt with that id is part of the turn already.
    pub fn has_prompt(&self, id: &str) -> bool {
        self.prompt_ids.iter().any(|known| known == id)
    }

    /// What the agent is doing in the current attempt.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The attempts that died.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// Those of them that ran out of memory.
    pub fn ooms(&self) -> u32 {
        self.ooms
    }

    /// Whether the agent has shown anything in the current attempt.
    pub fn showed(&self) -> bool {
        self.shown == Shown::InThisAttempt
    }

    /// Whether the attempt was told something that the agent has not shown to have taken up.
    pub fn awaits_answer(&self) -> bool {
        !self.told.is_empty()
    }

    /// The prompts that the agent has not shown to have taken up.
    pub fn unheard(&self) -> impl Iterator<Item = &Said> {
        self.told.iter().chain(&self.waiting)
    }

    /// The images that go with what the next attempt tells the agent in the same conversation.
    pub fn next_images(&self) -> Vec<ImageNote> {
        self.unheard()
            .flat_map(|said| said.images.iter().cloned())
            .collect()
    }

    /// What the next attempt tells the agent in the same conversation. A prompt that the agent
    /// took up is not among it: it may have acted on it.
    pub fn next_prompt(&self) -> String {
        let mut parts: Vec<String> = self.unheard().map(|said| said.text.clone()).collect();
        if parts.is_empty() || self.is_cut_off() {
            parts.insert(0, self.continuation());
        }
        parts.join("\n\n")
    }

    /// Whether work was cut off that the agent has not gone on with since.
    pub fn is_cut_off(&self) -> bool {
        self.shown != Shown::Never && self.cut_off
    }

    /// Says that the turn was cut off, and in the middle of what.
    pub fn continuation(&self) -> String {
        let mut text = CONTINUE.to_owned();
        if !self.cut_calls.is_empty() {
            text.push_str(
                "\nIt was cut off in the middle of the following, which may or may not have taken \
                 effect and may even still be running:",
            );
        }
        for call in &self.cut_calls {
            text.push_str("\n- ");
            text.push_str(call);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompt(text: &str) -> Event {
        Event::Prompt {
            text: text.to_owned(),
            prompt_id: None,
            author: None,
            images: Vec::new(),
        }
    }

    fn token() -> Event {
        Event::Token {
            text: "x".to_owned(),
            message_id: None,
            parent_call_id: None,
        }
    }

    fn started(id: &str) -> Event {
        Event::ToolStart {
            call_id: id.to_owned(),
            name: "shell".to_owned(),
            native_name: "Bash".to_owned(),
            input: json!({"command": format!("make {id}")}),
            parent_call_id: None,
        }
    }

    fn ended(id: &str, output: Option<&str>) -> Event {
        Event::ToolEnd {
            call_id: id.to_owned(),
            name: "shell".to_owned(),
            output: output.map(str::to_owned),
            is_error: output.is_none(),
            exit_code: None,
            duration_ms: None,
        }
    }

    fn crashed() -> Event {
        Event::AgentCrashed {
            message: String::new(),
            cause: CrashCause::Signal,
            exit_code: None,
            signal: Some(9),
            output: String::new(),
            will_resume: true,
        }
    }

    fn after(events: &[Event]) -> Seen {
        let mut seen = Seen::default();
        for event in events {
            seen.event(event);
            if matches!(event, Event::AgentCrashed { .. }) {
                seen.begin_attempt();
            }
        }
        seen
    }

    #[test]
    fn a_prompt_without_any_answer_is_sent_again() {
        let seen = after(&[prompt("task"), crashed(), crashed()]);
        assert_eq!(seen.next_prompt(), "task");
        assert_eq!(seen.crashes(), 2);
    }

    #[test]
    fn a_prompt_that_was_taken_up_is_not_sent_again() {
        let seen = after(&[prompt("task"), token(), crashed()]);
        assert_eq!(seen.next_prompt(), CONTINUE);
        // nor when the next attempt dies before it shows anything
        let seen = after(&[prompt("task"), token(), crashed(), crashed()]);
        assert_eq!(seen.next_prompt(), CONTINUE);
    }

    #[test]
    fn an_image_is_told_again_with_its_words_and_never_without_them() {
        let image = ImageNote {
            media_type: "image/png".to_owned(),
            bytes: 9,
            sha256: "ab".to_owned(),
        };
        let shown = |text: &str| Event::Prompt {
            text: text.to_owned(),
            prompt_id: None,
            author: None,
            images: vec![image.clone()],
        };
        let seen = after(&[shown("look"), crashed()]);
        assert_eq!(seen.next_images(), std::slice::from_ref(&image));
        let seen = after(&[shown("look"), token(), crashed()]);
        assert_eq!(seen.next_images(), []);
        let seen = after(&[prompt("task"), token(), shown("like this")]);
        assert_eq!(seen.next_images(), [image]);
    }

    #[test]
    fn a_cli_that_says_that_it_is_at_work_is_not_asked_the_same_again() {
        let session = |at_work| Event::Session {
            id: "s".to_owned(),
            model: None,
            cwd: None,
            tools: None,
            at_work,
        };
        let seen = after(&[prompt("task"), session(false), prompt("stop")]);
        assert_eq!(seen.next_prompt(), "task\n\nstop");
        let seen = after(&[prompt("task"), session(true), prompt("stop")]);
        assert_eq!(seen.next_prompt(), "stop");
        let seen = after(&[prompt("task"), session(true), crashed()]);
        assert_eq!(seen.next_prompt(), CONTINUE);
    }

    #[test]
    fn the_call_that_was_cut_off_is_named_until_the_agent_goes_on() {
        let mut events = vec![
            prompt("task"),
            started("all"),
            ended("all", Some("done")),
            started("check"),
            // as it is in the journal: the adapter closes what is open
            ended("check", None),
            crashed(),
        ];
        let text = after(&events).next_prompt();
        assert!(text.starts_with(CONTINUE), "{text}");
        assert!(text.ends_with("\n- shell: make check"), "{text}");
        // as it is before the closing events
        let mut open = after(&events[..4]);
        open.interrupted();
        assert_eq!(open.next_prompt(), text);
        events.push(crashed());
        assert_eq!(after(&events).next_prompt(), text);
        events.extend([token(), crashed()]);
        assert_eq!(after(&events).next_prompt(), CONTINUE);
    }

    #[test]
    fn a_message_during_the_turn_goes_on_alone_unless_the_turn_was_cut_off() {
        let steered = [prompt("task"), token(), prompt("use tabs")];
        assert_eq!(after(&steered).next_prompt(), "use tabs");
        // what the old process still says is no answer to it
        let late = [prompt("task"), token(), prompt("use tabs"), token()];
        assert_eq!(after(&late).next_prompt(), "use tabs");
        let silent = [prompt("task"), prompt("use tabs")];
        assert_eq!(after(&silent).next_prompt(), "task\n\nuse tabs");
        let cut = [
            prompt("task"),
            started("all"),
            ended("all", None),
            crashed(),
            prompt("use tabs"),
        ];
        let text = after(&cut).next_prompt();
        assert!(text.contains("make all"), "{text}");
        assert!(text.ends_with("\n\nuse tabs"), "{text}");
    }
}
