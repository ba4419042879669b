//! The terminal as a controller of a Hub's session: history, what happens, and a prompt line.
//!
//! Detaching leaves the session as it is. Where stdin is no terminal its lines are prompts, and
//! the command ends when they are done.

mod choice;
mod door;
mod editor;
mod screen;
mod terminal;
mod translate;
mod typed;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::choice::choose;
use self::door::{Door, Resuming};
use self::editor::{Editor, Key};
use self::screen::{Prompt, Screen};
use self::terminal::Terminal;
use self::typed::{HELP, Typed, typed};
use self::view::View;
use super::lead::{Context, Stops, runtime};
use super::printing::say;
use super::{CliError, Exit};
use crate::config::{CommandKind, HubOptions, Options};
use crate::event::NoticeLevel;
use crate::hub::StartError;
use crate::hub::controller::{Controller, Heard, Said};
use crate::hub::rest::RestError;
use crate::ids::SessionId;
use crate::tasks::Tasks;

/// How long leaving may take: the Hub is told, and need not answer.
const LEAVE: Duration = Duration::from_secs(2);

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Session to join [default: the newest of this working directory, else the only one that runs;
    /// on a terminal you are asked]
    #[arg(value_name = "SESSION", env = "AGENT_RUNNER_SESSION")]
    session: Option<SessionId>,
    /// Hub that has it, as http, https, ws or wss URL [default: that of the daemon here, else the
    /// one that the key finds]
    #[arg(long, visible_alias = "url", value_name = "URL")]
    hub: Option<String>,
    /// File with the Hub's key
    #[arg(long, value_name = "FILE")]
    hub_key_file: Option<String>,
    /// How long an unreachable Hub is tried at the start [default: 60s]
    #[arg(long, value_name = "DURATION")]
    hub_wait: Option<String>,
    /// State dir of the daemon here [default: $XDG_STATE_HOME/agent-runner]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// Config file [default: $XDG_CONFIG_HOME/agent-runner/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let options = Options {
        config: arguments.config.clone(),
        state_dir: arguments.state_dir.clone(),
        ..Options::default()
    };
    let hub = HubOptions {
        hub: arguments.hub.clone(),
        hub_key_file: arguments.hub_key_file.clone(),
        hub_wait: arguments.hub_wait.clone(),
        ..HubOptions::default()
    };
    let Some(context) = Context::read(CommandKind::Start, &options, Some(&hub), None)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let runtime = runtime()?;
    let result = runtime.block_on(attach(&context, arguments.session.clone()));
    // The thread that reads the terminal may still be waiting for a key.
    runtime.shutdown_background();
    result
}

async fn attach(context: &Context, session: Option<SessionId>) -> Result<ExitCode, CliError> {
    let door = Door::find(context).await?;
    let session = match session {
        Some(session) => session,
        None => choose(&door, &context.place.cwd).await?,
    };
    let tasks = Tasks::new();
    let (controller, heard) = Controller::start(door.controller(session.clone()), &tasks);
    let attached = Attached {
        door,
        session: session.clone(),
        controller,
        heard,
        front: Front::open()?,
        waiting: Vec::new(),
        woken: Woken::Not,
        asking: None,
        aborted: false,
        typing: true,
    };
    let ended = attached.serve().await;
    if tokio::time::timeout(LEAVE, tasks.stop()).await.is_err() {
        tracing::debug!("the Hub was not told in time that we leave");
    }
    if let Some(error) = ended? {
        return Err(error);
    }
    if io::stderr().is_terminal() {
        say!("detached; session {session} goes on");
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person looks at and types into, or what stands in their place.
enum Front {
    Person {
        terminal: Terminal,
        screen: Screen,
        editor: Editor,
    },
    /// Lines in, text out.
    Plain { line: Vec<u8> },
}

impl Front {
    fn open() -> Result<Self, CliError> {
        if !Terminal::is_there() {
            return Ok(Self::Plain { line: Vec::new() });
        }
        let terminal = Terminal::open().map_err(|error| {
            CliError::new(
                Exit::Internal,
                format!("the terminal cannot be used: {error}"),
            )
        })?;
        Ok(Self::Person {
            terminal,
            screen: Screen::default(),
            editor: Editor::default(),
        })
    }

    /// Shows output, and below it how the session stands.
    fn show(&mut self, output: &[u8], mark: &str) -> io::Result<()> {
        match self {
            Self::Person {
                terminal,
                screen,
                editor,
            } => {
                let (line, cursor) = editor.line();
                let prompt = Prompt { mark, line, cursor };
                let output = String::from_utf8_lossy(output);
                terminal.write(&screen.draw(&output, prompt, Terminal::width()))
            }
            Self::Plain { .. } => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(output)?;
                stdout.flush()
            }
        }
    }

    /// What was typed. Of a file or a pipe, each line.
    fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        match self {
            Self::Person { editor, .. } => editor.feed(bytes),
            Self::Plain { line } => {
                let mut keys = Vec::new();
                for byte in bytes {
                    if *byte == b'\n' {
                        let text = String::from_utf8_lossy(line).into_owned();
                        line.clear();
                        keys.push(Key::Line(text));
                    } else {
                        line.push(*byte);
                    }
                }
                keys
            }
        }
    }

    /// The end of what is typed: of a file, a last line without a line break.
    fn rest(&mut self) -> Vec<Key> {
        match self {
            Self::Person { .. } => vec![Key::End],
            Self::Plain { line } if line.is_empty() => Vec::new(),
            Self::Plain { .. } => self.keys(b"\n"),
        }
    }

    fn leave(&mut self) {
        if let Self::Person {
            terminal, screen, ..
        } = self
        {
            // A terminal that is gone shows nothing more.
            drop(terminal.write(&screen.leave()));
        }
    }
}

/// A joined session.
struct Attached {
    door: Door,
    session: SessionId,
    controller: Controller,
    heard: mpsc::Receiver<Heard>,
    front: Front,
    /// What is to be said, once the session is known and led.
    waiting: Vec<Said>,
    /// Whether the Hub was asked to have the session led for what waits.
    woken: Woken,
    /// The Hub is being asked to.
    asking: Option<Resuming>,
    /// The turn that runs was told to end.
    aborted: bool,
    /// There may be more on stdin.
    typing: bool,
}

/// How far the session was woken for a prompt that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Nobody was asked.
    Not,
    /// The Hub was asked, and a lead may come.
    Asked,
    /// The Hub could not: it is asked again for the next prompt, and when it was away and is back.
    InVain,
}

/// Whether the session is left.
#[derive(PartialEq, Eq)]
enum Goes {
    On,
    Away,
}

impl Attached {
    /// Until the person leaves, or there is nothing more to hear, and why.
    async fn serve(mut self) -> Result<Option<CliError>, CliError> {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut view = View::new(colour);
        let mut keys = terminal::typed()?;
        let mut stops = Stops::listen()?;
        let internal = |error: io::Error| CliError::new(Exit::Internal, error.to_string());
        let mut resized = signal(SignalKind::window_change()).map_err(internal)?;
        let mut hung_up = signal(SignalKind::hangup()).map_err(internal)?;
        let mut out = Vec::new();
        let ended = loop {
            if self.front.show(&out, view.mark()).is_err() {
                break None; // nobody sees it any more
            }
            out.clear();
            if let Some(over) = view.over() {
                let exit = match over {
                    StartError::Unreachable { .. } => Exit::HubUnreachable,
                    StartError::Refused(_) | StartError::Closed => Exit::HubRefused,
                };
                break Some(CliError::new(exit, over.to_string()));
            }
            if self.is_done(&view) {
                break None;
            }
            let hopes = self.typing || self.asking.is_some() || view.is_led();
            if let (false, Some(why)) = (hopes, view.failure()) {
                break Some(CliError::new(Exit::HubRefused, why));
            }
            let goes = tokio::select! {
                heard = self.heard.recv() => match heard {
                    Some(heard) => self.hear(heard, &mut view, &mut out),
                    None => break None,
                },
                bytes = keys.recv(), if self.typing => {
                    let keys = if let Some(bytes) = bytes {
                        self.front.keys(&bytes)
                    } else {
                        self.typing = false;
                        self.front.rest()
                    };
                    self.press(keys, &mut view, &mut out)
                }
                answer = asked(&mut self.asking) => {
                    self.asking = None;
                    self.resumed(answer, &mut view, &mut out).map(|()| Goes::On)
                }
                _ = resized.recv() => Ok(Goes::On),
                _ = hung_up.recv() => Ok(Goes::Away),
                _ = stops.next() => Ok(Goes::Away),
            };
            if goes.map_err(internal)? == Goes::Away {
                break None;
            }
        };
        self.front.leave();
        Ok(ended)
    }

    /// Whether there was only so much to do, and it is done.
    fn is_done(&self, view: &View) -> bool {
        let asks = self.asking.is_some() || !self.waiting.is_empty();
        !self.typing && view.is_there() && !asks && view.is_settled()
    }

    fn hear(&mut self, heard: Heard, view: &mut View, out: &mut Vec<u8>) -> io::Result<Goes> {
        let was_busy = view.is_busy();
        if matches!(heard, Heard::History(_)) && self.woken == Woken::InVain {
            self.woken = Woken::Not;
        }
        view.hear(heard, out)?;
        if was_busy && !view.is_busy() {
            self.aborted = false;
        }
        self.say_what_waits(view, out)?;
        Ok(Goes::On)
    }

    fn press(&mut self, keys: Vec<Key>, view: &mut View, out: &mut Vec<u8>) -> io::Result<Goes> {
        for key in keys {
            let goes = match key {
                Key::Line(line) => self.line(&line, view, out)?,
                Key::Interrupt => self.interrupt(view, out)?,
                Key::End => Goes::Away,
                Key::Redraw => {
                    out.extend_from_slice(b"\x1b[H\x1b[2J");
                    Goes::On
                }
            };
            if goes == Goes::Away {
                return Ok(goes);
            }
        }
        Ok(Goes::On)
    }

    /// Ctrl-C: ends the turn; the second time, or when nothing runs, leaves.
    fn interrupt(&mut self, view: &mut View, out: &mut Vec<u8>) -> io::Result<Goes> {
        if !view.is_busy() || self.aborted {
            return Ok(Goes::Away);
        }
        self.abort(view, out)?;
        view.say(NoticeLevel::Info, "aborting; Ctrl-C again leaves", out)?;
        Ok(Goes::On)
    }

    fn abort(&mut self, view: &mut View, out: &mut Vec<u8>) -> io::Result<()> {
        self.aborted = true;
        self.say(&Said::Abort, view, out)
    }

    fn line(&mut self, line: &str, view: &mut View, out: &mut Vec<u8>) -> io::Result<Goes> {
        let read = typed(line);
        match read {
            Typed::Prompt(text) => {
                self.waiting.push(Said::Prompt(text));
                if self.woken == Woken::InVain {
                    self.woken = Woken::Not;
                }
                self.say_what_waits(view, out)?;
            }
            Typed::Steer(text) => self.say(&Said::Steer(text), view, out)?,
            Typed::Abort => self.abort(view, out)?,
            Typed::Approve(_) | Typed::Deny(_) | Typed::Answer(_) => match view.answer(&read) {
                Ok(said) => self.say(&said, view, out)?,
                Err(why) => view.say(NoticeLevel::Error, &why, out)?,
            },
            Typed::Resume if view.is_led() => {
                view.say(NoticeLevel::Info, "the session is led", out)?;
            }
            Typed::Resume => self.resume(),
            Typed::Quit => return Ok(Goes::Away),
            Typed::Help => {
                for line in HELP.lines() {
                    view.say(NoticeLevel::Info, line, out)?;
                }
            }
            Typed::Unknown(why) => view.say(NoticeLevel::Error, &why, out)?,
            Typed::Blank => {}
        }
        Ok(Goes::On)
    }

    /// Asks the Hub to have the session led again; when it is, that is heard.
    fn resume(&mut self) {
        if self.asking.is_none() {
            self.asking = Some(self.door.resume(self.session.clone()));
        }
    }

    /// Says what waits to somebody who can hear it; a session that nobody leads is resumed for it.
    fn say_what_waits(&mut self, view: &mut View, out: &mut Vec<u8>) -> io::Result<()> {
        if !view.is_connected() || self.waiting.is_empty() {
            return Ok(());
        }
        if view.is_led() {
            self.woken = Woken::Not;
            for said in std::mem::take(&mut self.waiting) {
                self.say(&said, view, out)?;
            }
        } else if self.woken == Woken::Not {
            self.woken = Woken::Asked;
            self.resume();
        }
        Ok(())
    }

    /// Shows what the Hub makes of a session that is to be led again.
    fn resumed(
        &mut self,
        answer: Result<bool, RestError>,
        view: &mut View,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let why = match answer {
            Ok(true) => {
                let words = "asked the Hub to resume the session";
                return view.say(NoticeLevel::Info, words, out);
            }
            Ok(false) => {
                "the Hub has nothing that could lead this session; start it where it ran, \
                          with `agent-runner start`"
                    .to_owned()
            }
            Err(RestError::Failed { message, .. }) => message,
            Err(error) => error.to_string(),
        };
        view.say(NoticeLevel::Error, &why, out)?;
        view.not_woken(why);
        self.woken = Woken::InVain;
        if !self.waiting.is_empty() {
            let words = "your prompts wait; the Hub is asked again with the next one, by /resume, and \
                         when it was away and is back";
            view.say(NoticeLevel::Warning, words, out)?;
        }
        Ok(())
    }

    fn say(&self, said: &Said, view: &mut View, out: &mut Vec<u8>) -> io::Result<()> {
        match self.controller.say(said) {
            Ok(()) => {
                view.said(said);
                Ok(())
            }
            Err(error) => view.say(NoticeLevel::Error, &error.to_string(), out),
        }
    }
}

/// The Hub's answer to what it was asked; waits for ever while it was asked nothing. Cancel-safe.
async fn asked(asking: &mut Option<Resuming>) -> Result<bool, RestError> {
    match asking {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}
