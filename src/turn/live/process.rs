//! A live process: its output read, frames sent to it, both in the order that a later reader of
//! its two files comes to.
//!
//! Between handing a frame over and learning its place nothing is read; after it, all that lies
//! before that place is. So the dialog always holds every frame that was sent.

mod attach;

use std::collections::VecDeque;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use super::adapt::SystemPrompt;
use super::change::Change as Changing;
use super::course::Course;
use super::saved::save;
use super::started::Started;
use crate::agent::Evidence;
use crate::agent::live::{Dialog, Heard, LiveKind, LivePlan, LiveReader, LiveSpec, Told};
use crate::event::{ErrorClass, Event, TurnError};
use crate::exit::Exit;
use crate::files;
use crate::ids::{RunId, SpoolOffset, TurnId};
use crate::journal::Change as Stored;
use crate::sandbox::{Change, Ending, RunControl, RunHandle, SandboxError};
use crate::spool::control::Stop as Ladder;
use crate::spool::{Reclaimer, RunDir, Stdin, Tail, read_inputs};
use crate::turn::attempt::describe;
use crate::turn::context::{TurnContext, TurnFault};
use crate::turn::provision;
use crate::turn::spool_room::SpoolRoom;

pub(in crate::turn) use attach::Place;

/// How long a CLI that is told to end may take before signals do it: it writes its last records.
const LEAVE: Duration = Duration::from_millis(1_500);
/// The signals after that; all of it fits into the grace of a container's stop.
const LADDER: Ladder = Ladder {
    interrupt_grace_ms: 0,
    term_grace_ms: 1_500,
};

/// A live process that this daemon has in hand.
pub struct LiveProcess {
    pub(super) context: Arc<TurnContext>,
    pub(super) kind: &'static LiveKind,
    pub(in crate::turn) run: RunId,
    pub(super) dir: RunDir,
    pub(super) handle: Option<RunHandle>,
    pub(super) control: Option<RunControl>,
    /// Its end, once that is known; what it wrote may still be unread.
    pub(super) ending: Option<Ending>,
    tail: Option<Tail>,
    reader: LiveReader,
    /// Where the records of frames end that the reader was given and has not come to.
    ahead: VecDeque<SpoolOffset>,
    /// Up to where the record of the input is in the reader's state, and in how many frames.
    input: SpoolOffset,
    taken: u64,
    /// The end of the last whole line.
    pub(super) offset: SpoolOffset,
    /// The run's next event ordinal.
    pub(in crate::turn) ordinal: u64,
    /// What was told and not looked at yet.
    told: Vec<Told>,
    pub(super) room: SpoolRoom,
    /// The same for the record of the input: frames that the stored state holds are not read again.
    input_room: Option<Reclaimer>,
    /// The turn that it worked for last.
    pub(in crate::turn) last_turn: Option<(TurnId, u32)>,
    /// It cannot be spoken to any more.
    pub(super) is_mute: bool,
    /// The system prompt that it was started with, where this daemon started it.
    pub(super) system_prompt: Option<SystemPrompt>,
    /// A change of its settings that the CLI has not answered.
    pub(super) change: Option<Changing>,
}

impl std::fmt::Debug for LiveProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveProcess")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl LiveProcess {
    /// A process that is not started yet.
    pub(in crate::turn) fn new(
        context: Arc<TurnContext>,
        kind: &'static LiveKind,
        run: RunId,
        spec: &LiveSpec,
    ) -> Self {
        let dir = context.run_dir(run);
        let reader = LiveReader::new(kind, spec, Arc::clone(&context.redactor));
        Self {
            room: SpoolRoom::new(&context, &dir),
            input_room: None,
            system_prompt: Some(SystemPrompt::now(&context)),
            change: None,
            context,
            kind,
            run,
            dir,
            handle: None,
            control: None,
            ending: None,
            tail: None,
            reader,
            ahead: VecDeque::new(),
            input: SpoolOffset::START,
            taken: 0,
            offset: SpoolOffset::START,
            ordinal: 0,
            told: Vec::new(),
            last_turn: None,
            is_mute: false,
        }
    }

    /// Starts it; an error is the turn's end.
    pub(in crate::turn) async fn start(&mut self, plan: &LivePlan) -> Result<(), TurnError> {
        let sandbox = |message: String| TurnError::new(ErrorClass::Sandbox, message);
        let context = Arc::clone(&self.context);
        let mut shim_plan = context
            .shim_plan(&plan.launch, &self.dir)
            .map_err(sandbox)?;
        shim_plan.stdin = Stdin::Pipe;
        let environment = context.environment(&plan.launch).map_err(sandbox)?;
        provision::write(&context, &self.dir, &plan.launch)
            .and_then(|()| Started::write(&context, self.kind, &self.dir, &plan.spec))
            .map_err(|error| sandbox(error.to_string()))?;
        let started = context
            .sandbox
            .start(&self.dir, &shim_plan, b"", &environment);
        let handle = started.await.map_err(|error| sandbox(describe(&error)))?;
        crash_point!("live.started");
        self.tail = match handle.tail(SpoolOffset::START) {
            Ok(tail) => Some(tail),
            // A shim that was killed early has made no spool.
            Err(_) if handle.is_over() => None,
            Err(error) => return Err(sandbox(describe(&error))),
        };
        self.room = SpoolRoom::new(&context, &self.dir);
        self.input_room = input_room(&context, &self.dir);
        self.control = handle.control();
        self.handle = Some(handle);
        Ok(())
    }

    /// Gives the reader the frames of the log that it does not know.
    fn hear_own_frames(&mut self) -> io::Result<Vec<Vec<u8>>> {
        if self.is_mute {
            return Ok(Vec::new());
        }
        let mut end = self.ahead.back().copied().unwrap_or(self.input);
        let mut content = Vec::new();
        match files::open_plain(&self.dir.input()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => {
                let mut file = file?;
                file.seek(io::SeekFrom::Start(end.get()))?;
                file.read_to_end(&mut content)?;
            }
        }
        let mut frames = Vec::new();
        for input in read_inputs(&content) {
            end = end.advanced(input.record);
            frames.push(input.frame.clone());
            self.give(input.at, end, input.frame);
        }
        Ok(frames)
    }

    /// The dialog, for what it knows.
    pub(super) fn dialog(&self) -> &dyn Dialog {
        self.reader.dialog()
    }

    /// The CLI's own session id.
    pub(super) fn agent_session(&self) -> Option<&str> {
        self.dialog().agent_session()
    }

    /// Whether it is still there, as far as is known.
    pub(in crate::turn) fn is_alive(&self) -> bool {
        self.ending.is_none() && !self.is_mute
    }

    /// Notes an event of the runner's own, in its place among what was told.
    pub(super) fn tell(&mut self, event: Event) {
        self.told.push(Told::Event(event));
    }

    /// Whether it was started with the settings that the session has now. What has changed since
    /// this daemon started it is the next turn's to adapt.
    pub(super) fn is_as_asked(&self) -> bool {
        if self.system_prompt.is_some() {
            return true;
        }
        Started::read(&self.dir).is_ok_and(|started| started.is_as_now(&self.context, self.kind))
    }

    /// What was told since this was asked last.
    pub(super) fn told(&mut self) -> std::vec::Drain<'_, Told> {
        self.told.drain(..)
    }

    /// The state, to be stored with the events up to here.
    pub(in crate::turn) fn progress(&self, turn: TurnId, course: &Course) -> Stored {
        Stored::Progress {
            turn,
            offset: self.offset,
            ordinal_next: self.ordinal,
            adapter: save(self.input, course, &self.reader.snapshot()),
        }
    }

    /// Up to where the record of the input is in the state.
    pub(super) const fn input(&self) -> SpoolOffset {
        self.input
    }

    /// Gives back what the record of the input takes up to `stored`, which is in a stored state.
    pub(super) fn reclaim_input(&mut self, stored: SpoolOffset) {
        let Some(room) = &mut self.input_room else {
            return;
        };
        if room.is_due(stored) && room.reclaim(stored).is_err() {
            // Not every file system can.
            self.input_room = None;
        }
    }

    /// Reads the next chunk of output; whether there was one.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let Some(tail) = &mut self.tail else {
            return Ok(false);
        };
        let chunk = tail.read()?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let before = self.told.len();
        let (told, offset) = (&mut self.told, &mut self.offset);
        self.reader.push(chunk, &mut |heard: Heard<'_>| {
            told.append(heard.told);
            if let Some(line) = heard.line {
                *offset = line.end;
            }
        });
        self.count();
        self.look_for_answer(before);
        Ok(true)
    }

    /// Sends frames; `false` where the CLI cannot be spoken to any more.
    pub(super) async fn send(&mut self, frames: Vec<Vec<u8>>) -> Result<bool, TurnFault> {
        for mut frame in frames {
            let Some(control) = self.control.as_ref().filter(|_| !self.is_mute) else {
                return Ok(false);
            };
            frame.push(b'\n');
            crash_point!("live.before_frame");
            match control.write_stdin(&frame).await {
                Ok(sent) => {
                    crash_point!("live.frame_sent");
                    self.give(sent.at, sent.end, frame);
                }
                Err(error) => {
                    tracing::info!(run = %self.run, %error, "the agent cannot be spoken to");
                    // It may be in the log nevertheless.
                    self.hear_own_frames()?;
                    self.is_mute = true;
                }
            }
        }
        // What lies before a frame's place is read before anything follows from the frame.
        while !self.ahead.is_empty() && self.read()? {}
        Ok(!self.is_mute)
    }

    /// Sends what the protocol itself wants said.
    pub(super) async fn send_due(&mut self) -> Result<bool, TurnFault> {
        loop {
            let due = self.dialog().due();
            if due.is_empty() {
                return Ok(true);
            }
            if !self.send(due).await? {
                return Ok(false);
            }
        }
    }

    fn give(&mut self, at: SpoolOffset, end: SpoolOffset, frame: Vec<u8>) {
        self.ahead.push_back(end);
        let before = self.told.len();
        let told = &mut self.told;
        self.reader
            .sent(at, frame, &mut |heard: Heard<'_>| told.append(heard.told));
        self.count();
        self.look_for_answer(before);
    }

    /// Takes the answer to a change from what was told since `before`.
    fn look_for_answer(&mut self, before: usize) {
        if self.change.is_some() {
            let told = std::mem::take(&mut self.told);
            self.note_answer(told.get(before..).unwrap_or_default());
            self.told = told;
        }
    }

    /// Notes which frames the reader has come to.
    fn count(&mut self) {
        while self.taken < self.reader.frames()
            && let Some(end) = self.ahead.pop_front()
        {
            self.taken += 1;
            self.input = end;
        }
    }

    /// Waits for the next change of the process; nothing of that is lost when dropped.
    pub(super) async fn changed(&mut self) -> Result<Change, SandboxError> {
        match &mut self.handle {
            Some(handle) => handle.changed().await,
            None => std::future::pending().await,
        }
    }

    /// The process is gone, and all of its output was read: what remains to be told goes to `out`.
    pub(super) fn finish(
        self,
        exit: Option<Exit>,
        stderr: &[u8],
        out: &mut Vec<Told>,
    ) -> Option<Evidence> {
        let Self {
            reader, mut told, ..
        } = self;
        out.append(&mut told);
        let mut last = Vec::new();
        let evidence = reader.finish(
            exit,
            stderr,
            &mut |heard: Heard<'_>| out.append(heard.told),
            &mut last,
        );
        out.append(&mut last);
        evidence
    }

    /// Ends the process in order, and waits for that; its conversation can be gone on with.
    pub(in crate::turn) async fn end(&mut self) -> Result<(), TurnFault> {
        let Some(control) = self.control.clone().filter(|_| self.ending.is_none()) else {
            return Ok(());
        };
        crash_point!("live.before_end");
        // One that does not read any more is ended by the signals.
        control.close_stdin().await.ok();
        if !self.gone_within(LEAVE).await? {
            control.stop(LADDER).await.ok();
            let limit = Duration::from_millis(LADDER.term_grace_ms);
            if !self
                .gone_within(limit + self.context.patience.stopping)
                .await?
            {
                control.destroy().await;
                self.gone_within(self.context.patience.stopping).await?;
            }
        }
        crash_point!("live.ended");
        Ok(())
    }

    async fn gone_within(&mut self, limit: Duration) -> Result<bool, TurnFault> {
        let gone = async {
            while self.ending.is_none() && self.handle.is_some() {
                if let Change::Ended(ending) = self.changed().await? {
                    self.ending = Some(ending);
                }
            }
            Ok::<_, SandboxError>(())
        };
        match tokio::time::timeout(limit, gone).await {
            Ok(result) => result.map(|()| true).map_err(TurnFault::from),
            Err(_) => Ok(false),
        }
    }
}

fn input_room(context: &TurnContext, dir: &RunDir) -> Option<Reclaimer> {
    let reclaims = !context.spool_retain && dir.input().exists();
    let open = || Reclaimer::open(&dir.input(), context.spool_quota).ok();
    if reclaims { open() } else { None }
}
