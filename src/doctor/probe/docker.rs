//! Asks Docker's socket whether anybody is there.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::machine::{DockerFacts, DockerFault, without_credentials};
use crate::config::EnvMap;

const SOCKET: &str = "/var/run/docker.sock";
const LIMIT: Duration = Duration::from_secs(3);

/// Looks where Docker's own client would: `DOCKER_HOST`, else the usual socket, else the user's.
pub(in super::super) fn docker(env: &EnvMap) -> DockerFacts {
    let host = env.value("DOCKER_HOST").map(|host| host.to_string_lossy());
    if let Some(host) = host {
        return DockerFacts {
            endpoint: without_credentials(&host),
            named: true,
            answer: ask_host(&host),
        };
    }
    let own = env.value("XDG_RUNTIME_DIR");
    let own = own.map(|dir| PathBuf::from(dir).join("docker.sock"));
    let socket = own
        .filter(|own| !Path::new(SOCKET).exists() && own.exists())
        .unwrap_or_else(|| PathBuf::from(SOCKET));
    DockerFacts {
        endpoint: format!("unix://{}", socket.display()),
        named: false,
        answer: ask_socket(&socket),
    }
}

fn ask_host(host: &str) -> Result<(), DockerFault> {
    if let Some(path) = host.strip_prefix("unix://") {
        return ask_socket(Path::new(path));
    }
    let Some(address) = host.strip_prefix("tcp://") else {
        let why = "only unix:// and tcp:// are tried".to_owned();
        return Err(DockerFault::Other(why));
    };
    // It may want TLS and a client's certificate: that it takes connections has to be enough.
    let connected = address
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or(io::ErrorKind::NotFound.into()))
        .and_then(|address| TcpStream::connect_timeout(&address, LIMIT));
    connected.map(drop).map_err(|error| fault(&error))
}

fn ask_socket(path: &Path) -> Result<(), DockerFault> {
    let stream = UnixStream::connect(path).map_err(|error| fault(&error))?;
    stream
        .set_read_timeout(Some(LIMIT))
        .map_err(|error| fault(&error))?;
    stream
        .set_write_timeout(Some(LIMIT))
        .map_err(|error| fault(&error))?;
    let answer = ping(stream).map_err(|error| fault(&error))?;
    if answer.starts_with("HTTP/1.") && answer.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    let line = answer.lines().next().unwrap_or_default();
    Err(DockerFault::Other(format!("it answered `{line}`")))
}

/// The beginning of the answer.
fn ping(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    let answer = answer.get(..length).unwrap_or_default();
    Ok(String::from_utf8_lossy(answer).into_owned())
}

fn fault(error: &io::Error) -> DockerFault {
    match error.kind() {
        io::ErrorKind::NotFound => DockerFault::Absent,
        io::ErrorKind::PermissionDenied => DockerFault::Denied,
        _ => DockerFault::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn asked(path: &Path) -> DockerFacts {
        let host = format!("unix://{}", path.display());
        let env: EnvMap = [("DOCKER_HOST", host)].into_iter().collect();
        docker(&env)
    }

    #[test]
    fn a_socket_is_told_from_none_and_from_one_that_is_not_dockers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        assert!(matches!(asked(&path).answer, Err(DockerFault::Absent)));

        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || {
            for answer in ["HTTP/1.0 200 OK\r\n\r\nOK", "HTTP/1.1 500 No\r\n\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 64];
                let length = stream.read(&mut request).unwrap();
                assert!(request[..length].starts_with(b"GET /_ping "));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(asked(&path).answer.is_ok());
        assert!(matches!(asked(&path).answer, Err(DockerFault::Other(_))));
        serving.join().unwrap();
        let dead = asked(&path);
        assert!(dead.named && matches!(dead.answer, Err(DockerFault::Other(_))));
    }
}
