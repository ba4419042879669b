//! Turns recorded CLI output into events.
//!
//! The same parts as in a live turn, on bytes alone: `seq`, `type` and the fields come out, and
//! nothing that only a live turn knows.

mod dialog;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::value_parser;
use serde::Serialize;

use super::printing::say;
use super::{CliError, Exit as Status};
use crate::agent::{self, AgentKind, Ignored, OutputReader};
use crate::event::Event;
use crate::exit::Exit;
use crate::ids::Seq;
use crate::redact::Redactor;
use crate::turn::outcome::{Process, Verdict};

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// How much of a process's last output a crash tells, in bytes.
const LAST_OUTPUT: usize = 8 * 1024;

/// How much of an ignored line `--explain` shows, in characters.
const SHOWN: usize = 120;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The agent whose output it is
    #[arg(long, value_name = "NAME")]
    agent: String,
    /// The recorded output (stdout); without it, stdin is read
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The recorded stderr
    #[arg(long, value_name = "FILE")]
    stderr: Option<PathBuf>,
    /// The exit code that the process ended with
    #[arg(long, value_name = "N", conflicts_with = "signal", value_parser = value_parser!(i32).range(0..=255))]
    exit_code: Option<i32>,
    /// The signal that killed the process
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(1..=64))]
    signal: Option<i32>,
    /// The recorded output of the process before, in the same conversation; for several, the oldest
    /// first
    #[arg(long, value_name = "FILE")]
    after: Vec<PathBuf>,
    /// FILE is a talk with a live agent: a recording of both directions, or a run's folder
    #[arg(long, requires = "file", conflicts_with_all = ["after", "explain"])]
    dialog: bool,
    /// Say on stderr why an input line gave no event
    #[arg(long)]
    explain: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let stdout = io::stdout().lock();
    match replay(arguments, BufWriter::with_capacity(CHUNK, stdout)) {
        // a closed pipe (`replay … | head`) is nobody's error
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Output(error)) => Err(CliError::new(
            Status::Internal,
            format!("cannot write the events to stdout: {error}"),
        )),
        Err(Failure::Input(error)) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

enum Failure {
    Input(CliError),
    Output(io::Error),
}

fn replay(arguments: &Arguments, out: impl Write) -> Result<(), Failure> {
    let input = |message: String| Failure::Input(CliError::new(Status::Usage, message));
    let kind = agent::by_name(&arguments.agent)
        .map_err(|error| input(format!("{error}; choose one with --agent")))?;
    if let (true, Some(path)) = (arguments.dialog, &arguments.file) {
        let printer = Printer::new(out, false);
        return dialog::replay(kind, path, arguments, printer);
    }
    let mut source = source(arguments.file.as_deref()).map_err(Failure::Input)?;
    let stderr = match &arguments.stderr {
        Some(path) => last_of(path).map_err(Failure::Input)?,
        None => Vec::new(),
    };
    let mut printer = Printer::new(out, arguments.explain);
    let mut reader = following(kind, &arguments.after).map_err(Failure::Input)?;
    let mut chunk = vec![0; CHUNK];
    while let Some(read) =
        next(&mut source, &mut chunk, arguments.file.as_deref()).map_err(Failure::Input)?
    {
        reader.push(read, &mut |line| printer.line(&line));
        printer.ok()?;
    }
    let exit = status(arguments);
    let mut last = Vec::new();
    let evidence = reader.finish(exit, &stderr, &mut |line| printer.line(&line), &mut last);
    let process = exit.map_or(Process::Unknown, Process::Recorded);
    let output = match stderr.trim_ascii() {
        [] => String::from_utf8_lossy(&printer.last_line).into_owned(),
        stderr => String::from_utf8_lossy(stderr).into_owned(),
    };
    last.extend(Verdict::new(evidence, process, None).into_events(&output, false, None));
    printer.events(&last);
    printer.ok()?;
    printer.out.flush().map_err(Failure::Output)
}

/// A reader that knows what came before in the conversation.
fn following(kind: &AgentKind, earlier: &[PathBuf]) -> Result<OutputReader, CliError> {
    let redactor = Arc::new(Redactor::none());
    let mut reader = OutputReader::new(kind, Arc::clone(&redactor));
    let mut chunk = vec![0; CHUNK];
    for path in earlier {
        let mut source = source(Some(path))?;
        while let Some(read) = next(&mut source, &mut chunk, Some(path))? {
            reader.push(read, &mut |_| ());
        }
        reader = OutputReader::following(kind, Arc::clone(&redactor), &reader.snapshot());
    }
    Ok(reader)
}

/// The next bytes; none at the end.
fn next<'c>(
    source: &mut impl Read,
    chunk: &'c mut [u8],
    file: Option<&Path>,
) -> Result<Option<&'c [u8]>, CliError> {
    loop {
        match source.read(chunk) {
            Ok(0) => return Ok(None),
            Ok(len) => return Ok(chunk.get(..len)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let message = format!("cannot read {}: {error}", shown_name(file));
                return Err(CliError::new(Status::Usage, message));
            }
        }
    }
}

fn status(arguments: &Arguments) -> Option<Exit> {
    let exit = Exit {
        code: arguments.exit_code,
        signal: arguments.signal,
        oom: false,
    };
    (exit != Exit::default()).then_some(exit)
}

fn source(file: Option<&Path>) -> Result<Box<dyn Read>, CliError> {
    match file {
        None => Ok(Box::new(io::stdin().lock())),
        Some(path) => Ok(Box::new(open(path)?)),
    }
}

fn open(path: &Path) -> Result<File, CliError> {
    File::open(path).map_err(|error| {
        let message = format!(
            "cannot open {}: {error}; give the file that holds the CLI's output, or none to read stdin",
            path.display()
        );
        CliError::new(Status::Usage, message)
    })
}

/// The end of a file.
fn last_of(path: &Path) -> Result<Vec<u8>, CliError> {
    let cannot = |error: io::Error| {
        CliError::new(
            Status::Usage,
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let mut file = open(path)?;
    let mut kept = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = file.read(&mut chunk).map_err(cannot)?;
        if len == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(chunk.get(..len).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(LAST_OUTPUT));
    }
}

fn shown_name(file: Option<&Path>) -> String {
    file.map_or_else(|| "stdin".to_owned(), |path| path.display().to_string())
}

/// Prints events as JSON lines; keeps the first error, since it is called from within the reader.
struct Printer<W> {
    out: W,
    error: Option<io::Error>,
    seq: Seq,
    explain: bool,
    lines: u64,
    /// The last line that said something, for a crash.
    last_line: Vec<u8>,
}

#[derive(Serialize)]
struct Numbered<'a> {
    seq: Seq,
    #[serde(flatten)]
    event: &'a Event,
}

impl<W: Write> Printer<W> {
    fn new(out: W, explain: bool) -> Self {
        Self {
            out,
            error: None,
            seq: Seq::FIRST,
            explain,
            lines: 0,
            last_line: Vec::new(),
        }
    }

    fn line(&mut self, read: &agent::Read<'_>) {
        self.lines += 1;
        let bytes = read.line.bytes;
        if !bytes.trim_ascii().is_empty() {
            let from = bytes.len().saturating_sub(LAST_OUTPUT);
            self.last_line.clear();
            self.last_line
                .extend_from_slice(bytes.get(from..).unwrap_or_default());
        }
        if let (true, Ignored::Because(why)) = (self.explain, read.ignored) {
            let head = String::from_utf8_lossy(bytes.get(..SHOWN * 4).unwrap_or(bytes));
            let head: String = head.chars().take(SHOWN).collect();
            say!("line {}: {why}: {head}", self.lines);
        }
        self.events(read.events);
    }

    fn events(&mut self, events: &[Event]) {
        for event in events {
            if self.error.is_some() {
                return;
            }
            self.error = self.event(event).err();
        }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let seq = self.seq;
        serde_json::to_writer(&mut self.out, &Numbered { seq, event })?;
        self.out.write_all(b"\n")?;
        if let Some(next) = Seq::new(seq.get() + 1) {
            self.seq = next;
        }
        Ok(())
    }

    fn ok(&mut self) -> Result<(), Failure> {
        self.error
            .take()
            .map_or(Ok(()), |error| Err(Failure::Output(error)))
    }
}
