//! TLS before a server on loopback, with a certificate of a CA that no machine knows.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A side that says nothing lets the other speak after so long.
const TURN: Duration = Duration::from_millis(5);

/// Takes TLS connections and passes on what is in them, until it is dropped.
pub(crate) struct TlsFront {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The CA's certificate.
pub(crate) fn ca_file() -> PathBuf {
    folder().join("ca.pem")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/git_server/tls")
}

impl TlsFront {
    /// Before the server of that address.
    pub(crate) fn before(server: &str) -> Self {
        let server = url::Url::parse(server).unwrap();
        let server = server.socket_addrs(|| None).unwrap()[0];
        let certificate = CertificateDer::from_pem_file(folder().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let config = Arc::clone(&config);
                // Ends with its connection.
                std::thread::spawn(move || client.and_then(|client| pass(client, server, config)));
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self, repository: &str) -> String {
        format!("https://{}/{repository}", self.address)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn pass(client: TcpStream, server: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    client.set_read_timeout(Some(TURN))?;
    let mut outer = StreamOwned::new(connection, client);
    let mut inner = TcpStream::connect(server)?;
    inner.set_read_timeout(Some(TURN))?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match outer.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => inner.write_all(&bytes[..count])?,
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
        match inner.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => outer.write_all(&bytes[..count])?,
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
