//! Requests as bytes, so that what no proper client would send can be sent too.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::running::limit;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

pub(crate) fn by_socket(path: &Path, method: &str, target: &str, more: &str, body: &str) -> Answer {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    exchange(stream, method, target, more, body)
}

pub(crate) fn by_tcp(address: &str, method: &str, target: &str, more: &str, body: &str) -> Answer {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    exchange(stream, method, target, more, body)
}

/// `more`: further header lines, each with its line break.
fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    target: &str,
    more: &str,
    body: &str,
) -> Answer {
    let host = if more.contains("Host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    let length = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{more}\r\n"
    )
    .unwrap();
    // Whoever is refused early may be told before all is sent.
    drop(stream.write_all(body.as_bytes()));
    read(stream)
}

/// Reads an answer to its end.
pub(crate) fn read(stream: impl Read) -> Answer {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(
            reader.read_line(&mut head).unwrap() > 0,
            "no answer: {head:?}"
        );
    }
    let mut raw = Vec::new();
    // A refused body may be cut off by a reset, after the answer.
    drop(reader.read_to_end(&mut raw));
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(&raw) } else { raw };
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: String::from_utf8(body).unwrap(),
    }
}

fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let Some(at) = raw.windows(2).position(|pair| pair == b"\r\n") else {
            return body;
        };
        let size = std::str::from_utf8(&raw[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&raw[at + 2..at + 2 + size]);
        raw = &raw[at + 4 + size..];
    }
}

/// The events that a command has printed, from wherever it began.
pub(crate) fn events(finished: &crate::running::Finished) -> Vec<Value> {
    let lines = finished.out.iter();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
