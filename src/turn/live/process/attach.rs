//! A live process that an earlier daemon has left: taken up again from what that one has stored.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{LiveProcess, input_room};
use crate::agent::RestoreError;
use crate::agent::live::{LiveKind, LiveReader, LiveSpec};
use crate::ids::{RunId, SpoolOffset, TurnId};
use crate::sandbox::{self, Attach, Ending, RunHandle, SandboxError};
use crate::spool::RunDir;
use crate::turn::attempt::left::Left;
use crate::turn::context::{TurnContext, TurnFault};
use crate::turn::live::course::Course;
use crate::turn::live::saved::Saved;
use crate::turn::live::started::Started;
use crate::turn::spool_room::SpoolRoom;

/// A process that an earlier daemon has left.
pub(in crate::turn) struct Opened {
    pub(in crate::turn) process: LiveProcess,
    /// What was known of its last turn.
    pub(in crate::turn) course: Course,
    /// The frames that were sent after that was stored.
    pub(in crate::turn) frames: Vec<Vec<u8>>,
}

/// What a daemon stored of a process.
pub(in crate::turn) struct Place {
    pub(in crate::turn) offset: SpoolOffset,
    pub(in crate::turn) ordinal: u64,
    pub(in crate::turn) saved: Saved,
    pub(in crate::turn) turn: (TurnId, u32),
}

impl LiveProcess {
    /// Goes on with a process that an earlier daemon started, from what it has stored, or from the
    /// process's first byte. Where that state is another version's the process is of no use.
    pub(in crate::turn) async fn attach(
        context: Arc<TurnContext>,
        kind: &'static LiveKind,
        run: RunId,
        place: Option<Place>,
    ) -> Result<Opened, TurnFault> {
        let dir = context.run_dir(run);
        let (handle, ending) = match find(&dir).await? {
            Attach::Running(handle) => (Some(handle), None),
            Attach::Ended(ending) => (None, Some(ending)),
        };
        let control = handle.as_ref().and_then(RunHandle::control);
        if let Some(control) = &control {
            // A frame that the daemon before sent with its last breath is recorded before this is
            // answered.
            control.stat().await.ok();
        }
        let (offset, ordinal) = place.as_ref().map_or((SpoolOffset::START, 0), |place| {
            (place.offset, place.ordinal)
        });
        let left = Left::of(&dir.spool(), offset, handle.is_some());
        let restored = match left.lost {
            // Frames stand at places of the output: those would be others.
            Some(lost) => Err(lost),
            None => {
                restore(&context, kind, &dir, place.as_ref()).map_err(|error| error.to_string())
            }
        };
        let is_mute = restored.is_err();
        let reader = restored.unwrap_or_else(|error| {
            tracing::warn!(%run, error, "a live process cannot be gone on with");
            let redactor = Arc::clone(&context.redactor);
            LiveReader::new(kind, &LiveSpec::default(), redactor)
        });
        let last_turn = place.as_ref().map(|place| place.turn);
        let (input, course) = place.map_or((SpoolOffset::START, Course::default()), |place| {
            (place.saved.input, place.saved.course)
        });
        let mut process = Self {
            room: SpoolRoom::new(&context, &dir),
            input_room: input_room(&context, &dir),
            tail: left.tail.filter(|_| !is_mute),
            context,
            kind,
            run,
            dir,
            handle,
            control,
            ending,
            taken: reader.frames(),
            reader,
            ahead: VecDeque::new(),
            input,
            offset,
            ordinal,
            told: Vec::new(),
            last_turn,
            is_mute,
            system_prompt: None,
            change: None,
        };
        let frames = process.hear_own_frames()?;
        Ok(Opened {
            process,
            course,
            frames,
        })
    }
}

/// The process of a folder, as it is now.
async fn find(dir: &RunDir) -> Result<Attach, SandboxError> {
    let found = if dir.path().exists() {
        sandbox::attach(dir).await?
    } else {
        Attach::Ended(Ending::vanished())
    };
    crash_point!("live.attached");
    Ok(found)
}

/// The reader as it was at this place, or one that begins with the process's first byte.
fn restore(
    context: &TurnContext,
    kind: &'static LiveKind,
    dir: &RunDir,
    place: Option<&Place>,
) -> Result<LiveReader, RestoreError> {
    let redactor = Arc::clone(&context.redactor);
    match place {
        Some(place) => LiveReader::restore(kind, redactor, &place.saved.reader, place.offset),
        None => Ok(LiveReader::new(kind, &Started::read(dir)?.spec, redactor)),
    }
}
