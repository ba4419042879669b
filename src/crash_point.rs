//! Named places at which this program can be made to die, for the tests of what survives that.
//!
//! `crash_point!("journal.before_commit")` is nothing at all unless the program is built with the
//! feature `crash-points`. With it, two variables of the environment say what happens:
//!
//! ```text
//! AGENT_RUNNER_CRASH=NAME:HIT   the HIT-th pass of NAME ends the process by SIGKILL
//! AGENT_RUNNER_CRASH_LOG=FILE   FILE gets `NAME PID` for each pass;
//!                               FILE.crashed appears with the crash, and there is only one
//! ```
//!
//! Passes are counted for each process by itself; a forked one goes on with its parent's count.
//! A shim is started with both variables, an agent's CLI with neither. The names are found in the
//! source text (`tests/faults`): there is no list that could miss one.

/// Names a place at which the program can be made to die.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        crate::crash_point::pass($name);
    };
}

/// The variables that a process of ours passes on to another.
pub(crate) fn variables() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    let names: &[&str] = if cfg!(feature = "crash-points") {
        &["AGENT_RUNNER_CRASH", "AGENT_RUNNER_CRASH_LOG"]
    } else {
        &[]
    };
    let set = |name: &&'static str| Some((*name, std::env::var_os(name)?));
    names.iter().filter_map(set)
}

#[cfg(feature = "crash-points")]
pub(crate) use armed::pass;

#[cfg(feature = "crash-points")]
mod armed {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What the environment asks for.
    struct Orders {
        name: String,
        hit: u32,
        log: Option<PathBuf>,
        passes: AtomicU32,
    }

    /// A crash point is reached.
    pub(crate) fn pass(name: &'static str) {
        static ORDERS: OnceLock<Orders> = OnceLock::new();
        ORDERS.get_or_init(Orders::read).pass(name);
    }

    impl Orders {
        fn read() -> Self {
            let order = std::env::var("AGENT_RUNNER_CRASH").unwrap_or_default();
            let (name, hit) = order.rsplit_once(':').unwrap_or_default();
            Self {
                name: name.to_owned(),
                hit: hit.parse().unwrap_or(0),
                log: std::env::var_os("AGENT_RUNNER_CRASH_LOG").map(PathBuf::from),
                passes: AtomicU32::new(0),
            }
        }

        fn pass(&self, name: &str) {
            if let Some(log) = &self.log
                && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(log)
            {
                let pid = std::process::id();
                // A trace that cannot be written shows as a point that was never passed.
                let _unheard = file.write_all(format!("{name} {pid}\n").as_bytes());
            }
            if name != self.name || self.passes.fetch_add(1, Ordering::SeqCst) + 1 != self.hit {
                return;
            }
            if let Some(log) = &self.log {
                let crashed = log.with_extension("crashed");
                if OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&crashed)
                    .is_err()
                {
                    // Another process of the same test has died already.
                    return;
                }
            }
            die();
        }
    }

    fn die() {
        let own = rustix::process::getpid();
        let killed = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        // The signal takes this thread with it before the call returns.
        unreachable!("SIGKILL did not end the process: {killed:?}");
    }
}
