//! A CLI that does what its arguments say, one after the other: the tests' agent for faults.
//!
//! ```text
//! lines N        N numbered JSON lines               stdin      length and FNV-1a hash of stdin
//! line BYTES     one JSON line of that length        echo       each line of stdin again
//! bytes HEX      these bytes                         report     argv, environment, descriptors, tty
//! stderr BYTES   that much to stderr                 mark FILE  creates a file
//! ignore-term    SIGTERM and SIGINT do nothing       wait       until a signal ends it
//! exit CODE      ends                                die N      ends by signal N
//! holder         leaves a child in a session of its own, with the tty, for ever
//! flood          lines without end                   tree D W   W children each with a tree of D-1
//! stopped        leaves a stopped child              clock      monotonic microseconds
//! orphan         leaves a grandchild whose parent is gone, in a session of its own
//! writer         leaves a child that floods the output
//! child-hog MIB  has a child take that much memory
//! hog MIB        takes that much memory              spin       uses the processor for ever
//! work           all that follows is for `fake_agent/work.rs`
//! zombies N      leaves N children that have ended, and says so
//! ```

#[path = "payload.rs"]
mod payload;
#[path = "fake_agent/work.rs"]
mod work;

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::process::{Child, Command, ExitCode};

use nix::sys::signal::{SigHandler, Signal, raise, signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    while let Some(directive) = arguments.next() {
        let mut next = || arguments.next().expect("the directive takes an argument");
        match directive.as_str() {
            "lines" => lines(number(&next())),
            "line" => line(number(&next())),
            "bytes" => print(&hex(&next())),
            "stderr" => flood_stderr(number(&next())),
            "stdin" => stdin(),
            "echo" => echo(),
            "report" => report(),
            "mark" => fs::write(next(), b"").expect("the mark can be made"),
            "ignore-term" => ignore_term(),
            "wait" => wait(),
            "exit" => return ExitCode::from(u8::try_from(number(&next())).expect("a code")),
            "die" => die(i32::try_from(number(&next())).expect("a signal")),
            "holder" => drop(spawn(&["session", "ignore-term", "wait"])),
            "session" => drop(rustix::process::setsid()),
            "flood" => loop {
                lines(100);
            },
            "zombies" => zombies(number(&next())),
            "tree" => tree(number(&next()), number(&next())),
            "stopped" => drop(spawn(&["session", "stop"])),
            "stop" => raise(Signal::SIGSTOP).expect("SIGSTOP can be raised"),
            "clock" => clock(),
            "orphan" => drop(spawn(&["session", "holder", "exit", "0"]).wait()),
            "writer" => drop(spawn(&["session", "flood"])),
            "hog" => hog(number(&next())),
            "child-hog" => drop(spawn(&["hog", &next()]).wait()),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "work" => {
                work::work(arguments);
                return ExitCode::SUCCESS;
            }
            other => panic!("unknown directive {other}"),
        }
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or(""), 16).expect("hex"))
        .collect()
}

fn print(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // Nobody listens any more: what a CLI does then is end.
    if stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .is_err()
    {
        die(Signal::SIGKILL as i32);
    }
}

fn lines(count: usize) {
    for number in 0..count {
        print(format!("{{\"line\":{number},\"text\":\"é \\\" \\t tab\"}}\n").as_bytes());
    }
}

fn line(bytes: usize) {
    print(b"{\"text\":\"");
    let block = vec![b'x'; 64 * 1024];
    let mut left = bytes.saturating_sub(12);
    while left > 0 {
        let part = left.min(block.len());
        print(block.get(..part).unwrap_or_default());
        left -= part;
    }
    print(b"\"}\n");
}

fn flood_stderr(bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let part = left.min(4096);
        io::stderr()
            .write_all(&vec![b'e'; part])
            .expect("stderr is read");
        left -= part;
    }
}

fn stdin() {
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .expect("stdin can be read");
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    print(format!("{{\"length\":{},\"hash\":\"{hash:x}\"}}\n", text.len()).as_bytes());
}

fn echo() {
    for line in io::stdin().lock().split(b'\n') {
        let mut line = line.expect("stdin can be read");
        line.push(b'\n');
        print(&line);
    }
}

fn report() {
    let numbers: Vec<String> = fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    // The listing's own descriptor is closed by now.
    let fds: Vec<&String> = numbers
        .iter()
        .filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok())
        .collect();
    let window = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let report = serde_json::json!({
        "argv": std::env::args().collect::<Vec<_>>(),
        "environment": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
        "fds": fds,
        "cwd": std::env::current_dir().ok(),
        "window": window.map(|size| [size.ws_row, size.ws_col]),
        "status": fs::read_to_string("/proc/self/status").unwrap_or_default(),
        "limits": fs::read_to_string("/proc/self/limits").unwrap_or_default(),
        "oom": fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim(),
        "pid": std::process::id(),
        "group": rustix::process::getpgrp().as_raw_nonzero(),
    });
    print(format!("{report}\n").as_bytes());
}

fn clock() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    print(format!("{}\n", now.tv_sec * 1_000_000 + now.tv_nsec / 1000).as_bytes());
}

/// Each page is touched, so that it is really taken.
fn hog(mib: usize) {
    let blocks: Vec<Vec<u8>> = (0..mib).map(|_| vec![1; 1 << 20]).collect();
    std::hint::black_box(blocks);
}

#[allow(unsafe_code)]
fn ignore_term() {
    for number in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal(number, SigHandler::SigIgn) }.expect("the signal can be ignored");
    }
}

fn wait() {
    loop {
        nix::unistd::pause();
    }
}

#[allow(unsafe_code)]
fn die(number: i32) {
    let number = Signal::try_from(number).expect("a signal");
    // SAFETY: the default action installs no handler. Rust's runtime ignores SIGPIPE.
    unsafe { signal(number, SigHandler::SigDfl) }.ok();
    raise(number).expect("the signal can be raised");
}

/// Children that end at once and are never waited for.
#[allow(unsafe_code)]
fn zombies(count: usize) {
    for _ in 0..count {
        // SAFETY: this program has one thread, and the child does nothing but end.
        match unsafe { nix::unistd::fork() }.expect("a child can be forked") {
            // SAFETY: takes any value.
            nix::unistd::ForkResult::Child => unsafe { nix::libc::_exit(0) },
            nix::unistd::ForkResult::Parent { .. } => {}
        }
    }
    print(b"ready\n");
}

fn tree(depth: usize, width: usize) {
    if depth > 0 {
        let below = (depth - 1).to_string();
        // One child goes deeper, the others are leaves; all leave the session.
        drop(spawn(&[
            "session",
            "ignore-term",
            "tree",
            &below,
            &width.to_string(),
            "wait",
        ]));
        for _ in 1..width {
            drop(spawn(&["session", "ignore-term", "wait"]));
        }
    }
}

/// Starts this program again and leaves it to itself.
fn spawn(arguments: &[&str]) -> Child {
    Command::new("/proc/self/exe")
        .args(arguments)
        .spawn()
        .expect("a child can be started")
}
