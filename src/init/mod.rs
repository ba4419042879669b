//! The first process of a container: one thread, no runtime, nothing that can fail at will.
//!
//! ```text
//! init (PID 1) ─► daemon (group of its own) ─► shim (starter) ┐
//!   └──────────── shim ◄──────────────────── orphaned ────────┘
//! ```
//!
//! Guarantees: every zombie is reaped; SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 and
//! SIGWINCH reach the program and it alone, all others nobody; a program that dies is started
//! again, with growing delays and not for ever; after SIGTERM this process ends within the grace
//! and a second, with the program's code (128 and the signal's number for a signal); what a killed
//! shim leaves is killed.
//!
//! It never panics (that would end the container), knows nothing of sessions, reads no file but
//! those of the kernel (`/proc`, the count of its control group) and writes none. Where it is not PID 1 it is a subreaper, and no process but its
//! descendants is touched.

mod orphans;
mod program;
mod restarts;
mod supervision;

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use self::orphans::Orphans;
use self::restarts::{Restarts, WINDOW};
use self::supervision::{Action, Supervision, shell_code};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::process::{self, Children, OomWatch, PidFd, SHIM_NAME, Stat, State, Zombie};

pub use self::program::{InvalidArgument, Program};

/// Children are reaped in rounds of so many, so that a flood of them does not keep a signal
/// waiting.
const ROUND: usize = 1024;
/// After so long without a signal there may be none for days.
const CALM: Duration = Duration::from_millis(500);
/// The code of a program that could not be forked: a fault of ours or of the machine, worth a
/// restart.
const NOT_FORKED: i32 = 70;

/// How the program is looked after.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How long it may take to end after SIGTERM.
    pub grace: Duration,
    /// How often it is started again within a minute; 0: never.
    pub restarts: usize,
    /// It does one turn, and its code tells what became of that: no reason to do it again.
    pub once: bool,
    /// What to end with where the kernel killed the program for want of memory, if not as for
    /// every SIGKILL. Not every engine says so of its containers (Podman 4.3 on cgroup v1).
    pub oom_code: Option<u8>,
}

/// Looks after `program` until that is over, and all else in the container; gives the code to end
/// with. Only for a process with one thread.
pub fn run(program: &Program, policy: Policy) -> io::Result<u8> {
    let signals = process::block_all_and_watch()?;
    let own = rustix::process::getpid();
    if own != Pid::INIT {
        rustix::process::set_child_subreaper(Some(own))?;
    }
    let mut init = Init {
        own,
        program,
        restarts: policy.restarts,
        supervision: Supervision::new(policy.grace, Restarts::new(policy.restarts, policy.once)),
        orphans: Orphans::default(),
        oom: policy.oom_code.and_then(|_| OomWatch::begin(own)),
        out_of_memory: false,
        running: None,
        code: None,
    };
    init.act(Action::Start);
    loop {
        // A stop that came together with the end was a reason for it: signals go first.
        while let Ok(Some(signal)) = signals.read_signal() {
            init.signal(signal.ssi_signo);
        }
        let busy = init.reap();
        init.tick();
        if let Some(code) = init.code {
            let oom_code = policy.oom_code.filter(|_| init.out_of_memory);
            return Ok(oom_code.unwrap_or(code));
        }
        wait(
            &signals,
            if busy {
                Some(Clock.now())
            } else {
                init.deadline()
            },
        );
    }
}

struct Init<'a> {
    own: Pid,
    program: &'a Program,
    restarts: usize,
    supervision: Supervision,
    orphans: Orphans,
    /// Counts the kernel's kills in here, where that is to be told.
    oom: Option<OomWatch>,
    /// The program's last end was one of them.
    out_of_memory: bool,
    running: Option<Pid>,
    code: Option<u8>,
}

impl Init<'_> {
    fn signal(&mut self, number: u32) {
        let number = i32::try_from(number).unwrap_or_default();
        let action = self.supervision.signal(number, Clock.now());
        self.perform(action);
    }

    /// Reaps a round of children; whether there may be more.
    fn reap(&mut self) -> bool {
        for _ in 0..ROUND {
            match process::ended_child() {
                Children::Ended(zombie) => self.bury(zombie),
                Children::Alive => return false,
                Children::None => {
                    let action = self.supervision.alone();
                    self.perform(action);
                    return false;
                }
            }
        }
        true
    }

    fn bury(&mut self, zombie: Zombie) {
        let is_program = self.running == Some(zombie.pid);
        if !is_program && zombie.exit.code != Some(0) {
            self.look_for_a_shim(zombie);
        }
        zombie.reap();
        if is_program {
            self.running = None;
            let is_killed = zombie.exit.signal == Some(supervision::KILL);
            let has_killed = |oom: &OomWatch| oom.kills() > 0;
            self.out_of_memory = is_killed && self.oom.as_ref().is_some_and(has_killed);
            let action = self.supervision.ended(zombie.exit, Clock.now());
            self.perform(action);
        }
    }

    /// A shim that did not end by itself has left its tree behind.
    fn look_for_a_shim(&mut self, zombie: Zombie) {
        let pid = zombie.pid.as_raw_nonzero().get();
        if !process::is_named(pid, SHIM_NAME) {
            return;
        }
        if let Ok(stat) = Stat::read(pid) {
            let how = how(zombie.exit);
            say(&format!("the shim {pid} died ({how}), ending what it left"));
            self.orphans.shim_died(&stat, Clock.now());
        }
    }

    fn tick(&mut self) {
        let action = self.supervision.tick(Clock.now());
        self.perform(action);
        self.orphans.sweep(self.own, self.running, Clock.now());
    }

    fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.supervision.deadline(), self.orphans.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn perform(&mut self, action: Option<Action>) {
        if let Some(action) = action {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start => self.start(),
            Action::Restart { exit, delay } => say(&format!(
                "the program ended ({}), starting it again in {} ms",
                how(exit),
                delay.as_millis()
            )),
            Action::GiveUp { exit } => {
                say(&format!(
                    "the program ended ({}) after {} restarts within {} s, giving up",
                    how(exit),
                    self.restarts,
                    WINDOW.as_secs()
                ));
                self.signal_everyone(supervision::TERM);
            }
            Action::Forward(number) => {
                if let (Some(pid), Some(signal)) = (self.running, Signal::from_named_raw(number)) {
                    // It is not reaped yet, so that the pid is its own; a zombie ignores signals.
                    let _outcome = kill_process(pid, signal);
                }
            }
            Action::Everyone(number) => self.signal_everyone(number),
            Action::Leave(code) => self.code = Some(code),
        }
    }

    fn start(&mut self) {
        match self.program.start() {
            Ok(pid) => self.running = Some(pid),
            Err(error) => {
                say(&format!("cannot fork: {error}"));
                let exit = Exit {
                    code: Some(NOT_FORKED),
                    ..Exit::default()
                };
                let action = self.supervision.ended(exit, Clock.now());
                self.perform(action);
            }
        }
    }

    /// Signals every other process of the container; where there is none, every descendant.
    fn signal_everyone(&self, number: i32) {
        let Some(signal) = Signal::from_named_raw(number) else {
            return;
        };
        if self.own == Pid::INIT {
            // Nobody left to signal is the usual error, and the aim.
            let _outcome = process::signal_everyone(signal);
            return;
        }
        for member in process::descendants(self.own).unwrap_or_default() {
            if member.state != State::Dead
                && let Ok(Some(pidfd)) = PidFd::open(member.identity)
            {
                let _outcome = pidfd.signal(signal);
            }
        }
    }
}

/// Waits for a signal, at most until `deadline`.
fn wait(signals: &SignalFd, deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        poll_for(
            signals,
            Some(deadline.saturating_duration_since(Clock.now())),
        );
    } else if !poll_for(signals, Some(CALM)) {
        process::release_program_pages();
        poll_for(signals, None);
    }
}

/// Whether a signal has come. Whatever else may go wrong, the next look at signals, children and
/// the time tells what to do.
fn poll_for(signals: &SignalFd, patience: Option<Duration>) -> bool {
    let patience = patience.map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    let mut fds = [PollFd::new(signals, PollFlags::IN)];
    poll(&mut fds, patience.as_ref()).is_ok_and(|ready| ready > 0)
}

fn how(exit: Exit) -> String {
    match exit.signal {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", shell_code(exit)),
    }
}

/// Tells whoever reads the container's log. A log that nobody empties must not stop init: there it
/// stays unsaid.
fn say(text: &str) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let free = poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
    if free {
        let _unheard = writeln!(stderr.lock(), "agent-runner: {text}");
    }
}
