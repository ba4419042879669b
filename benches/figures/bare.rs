//! The reference: the least that does the work at all, as one would write it in an afternoon.
//!
//! It reads the CLI's lines from a PTY or a pipe, parses each into a type, appends it to a file
//! and sends one WebSocket frame for each to the same Hub. No shim, no event ids, nothing durable,
//! nothing that could be taken up again.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, client};

use crate::place::cpu_millis;

/// The file in which it notes its CPU time, in milliseconds.
pub const CPU: &str = "cpu";
/// How this program is told to be the reference.
pub const FLAG: &str = "--bare";

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    event: Option<Stream<'a>>,
    #[serde(borrow)]
    message: Option<Said<'a>>,
}

#[derive(Deserialize)]
struct Stream<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

/// `--bare pty|pipe URL FOLDER`
pub fn run(arguments: &[String]) {
    let [stdio, url, folder] = arguments else {
        panic!("{FLAG} takes pty or pipe, a URL and a folder");
    };
    let program = std::env::current_exe().expect("this program's path");
    let mut command = Command::new(program);
    command.arg("-p").env("HOME", folder).stdin(Stdio::null());
    let (mut output, mut child): (Box<dyn Read>, _) = if stdio == "pty" {
        let (master, slave) = pty();
        let child = command.stdout(slave).spawn().expect("the CLI starts");
        drop(command); // and with it our end of the slave
        (Box::new(master), child)
    } else {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the CLI starts");
        (Box::new(child.stdout.take().expect("it is piped")), child)
    };
    let address = url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).expect("the Hub listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut answers = stream.try_clone().expect("a socket");
    let request = format!("ws://{address}/?sessionId=bare").into_client_request();
    let (mut socket, _) = client(request.expect("a URL"), stream).expect("a WebSocket");
    // Acknowledgements are read, and nothing is done with them.
    let reader = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    let mut journal = File::options()
        .create(true)
        .append(true)
        .open(format!("{folder}/journal"))
        .expect("the folder is writable");
    let mut number = 0;
    let mut send = |event: &str, data: &str| {
        number += 1;
        let text =
            format!(r#"{{"id":"bare/{number}","type":"event","event":"{event}","data":{data}}}"#);
        socket.send(Message::text(text)).expect("the Hub listens");
    };
    let mut kept = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    // A PTY whose other end is closed gives an error, a pipe nothing.
    while let Ok(count @ 1..) = output.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &kept) {
            let (event, data) = event(&kept[from..end]);
            from = end + 1;
            journal
                .write_all(data.as_bytes())
                .expect("the disk has room");
            send(event, &data);
        }
        kept.drain(..from);
    }
    child.wait().expect("it ends");
    send("agent_end", "{}");
    let cpu = cpu_millis(nix::unistd::getpid().as_raw()).to_string();
    std::fs::write(format!("{folder}/{CPU}"), cpu).expect("the folder is writable");
    let closed = socket.get_ref().shutdown(Shutdown::Write);
    closed.expect("the Hub listens");
    reader.join().expect("it reads").expect("the Hub closes");
}

/// A line as an event, with its data.
fn event(line: &[u8]) -> (&'static str, String) {
    let record: Record<'_> = serde_json::from_slice(line).expect("a record");
    let text = record.event.and_then(|event| event.delta?.text);
    match (record.kind, text, record.message) {
        (_, Some(text), _) => (
            "message_update",
            format!(
                "{{\"delta\":{}}}\n",
                serde_json::to_string(&text).expect("a string")
            ),
        ),
        ("user", _, Some(said)) => ("tool_result", format!("{{\"content\":{}}}\n", said.content)),
        (_, _, Some(said)) => ("message_end", format!("{{\"content\":{}}}\n", said.content)),
        _ => ("other", "{}\n".to_owned()),
    }
}

/// Both ends of a PTY that changes nothing on its way.
fn pty() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a PTY");
    grantpt(&master).expect("a PTY");
    unlockpt(&master).expect("a PTY");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let slave = ioctl_tiocgptpeer(&master, flags).expect("its other end");
    let mut termios = tcgetattr(&slave).expect("a terminal");
    termios.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &termios).expect("a terminal");
    (master.into(), slave.into())
}
