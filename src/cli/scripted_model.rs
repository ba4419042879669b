//! Serves a model that plays a script.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::printing::say;
use super::{CliError, Exit};
use crate::scripted_model::{Options, Record, Script, serve};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The script (TOML) to play; without it, a dry run that lists the files of the repo
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Where to listen, on loopback; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Append each request (method, path, body; no headers) to FILE as JSON lines
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Runs the command until SIGINT or SIGTERM.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    if !arguments.listen.ip().is_loopback() {
        return Err(CliError::new(
            Exit::Usage,
            format!(
                "--listen {}: the scripted model asks for no key, so it listens on loopback only; use 127.0.0.1 or [::1]",
                arguments.listen
            ),
        ));
    }
    let script = match &arguments.script {
        Some(path) => {
            Script::load(path).map_err(|error| CliError::new(Exit::Usage, error.to_string()))?
        }
        None => Script::built_in(),
    };
    let record = arguments
        .record
        .as_deref()
        .map(Record::append)
        .transpose()
        .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| internal("cannot start the runtime", &error))?
        .block_on(listen(arguments.listen, script, Options { record }))
}

async fn listen(
    address: SocketAddr,
    script: Script,
    options: Options,
) -> Result<ExitCode, CliError> {
    let broken = |error| internal("cannot watch for signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::new(
            Exit::Usage,
            format!("cannot listen on {address}: {error}; --listen with port 0 takes a free port"),
        )
    })?;
    let bound = listener
        .local_addr()
        .map_err(|error| internal("cannot tell the port", &error))?;
    let name = script.name().to_owned();
    announce(bound, &name).map_err(|error| internal("cannot write to stdout", &error))?;
    let stop = CancellationToken::new();
    let mut serving = std::pin::pin!(serve(listener, script, options, stop.clone()));
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = either(&mut interrupt, &mut terminate) => {
            stop.cancel();
            serving.await
        }
    };
    ended.map_err(|error| internal("the server broke", &error))?;
    Ok(ExitCode::SUCCESS)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Stdout is for programs (the address, line 1), stderr for people.
fn announce(bound: SocketAddr, script: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening http://{bound}")?;
    stdout.flush()?;
    say!("no model is behind this: it plays {script}");
    Ok(())
}

fn internal(what: &str, error: &io::Error) -> CliError {
    CliError::new(Exit::Internal, format!("{what}: {error}"))
}
