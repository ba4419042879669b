//! Ways to a Hub: proxies, certificates of one's own, keys that change.

#![allow(clippy::disallowed_methods, clippy::print_stderr)] // servers of a test: they end with its runtime

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_runner::config::KeyInUrl;
use agent_runner::hub::{Credentials, HubAddress, Phase, Proxies, StartError};
use agent_runner::local_hub::{ApiKey, LocalHub};
use agent_runner::tasks::Tasks;
use serde_json::Map;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::appears;
use crate::hub::Hub;
use crate::source::Source;
use crate::{run, start};

/// The time for a daemon to come up.
const LIMIT: Duration = Duration::from_secs(20);

/// A proxy that knows one host.
struct Proxy {
    address: SocketAddr,
    /// The heads of the requests that it got.
    asked: watch::Receiver<Vec<String>>,
}

impl Proxy {
    /// Connects everybody to `to`, if they are who `login` says; else says 407.
    async fn start(to: SocketAddr, login: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, asked) = watch::channel(Vec::new());
        let told = Arc::new(told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, to, login, Arc::clone(&told)));
            }
        });
        Self { address, asked }
    }

    async fn serve(
        stream: TcpStream,
        to: SocketAddr,
        login: &str,
        told: Arc<watch::Sender<Vec<String>>>,
    ) {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let known = head.contains(login);
        told.send_modify(|asked| asked.push(head));
        if !known {
            let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
            drop(stream.write_all(answer).await);
            return;
        }
        let mut hub = TcpStream::connect(to).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        drop(copy_bidirectional(&mut stream, &mut hub).await);
    }
}

#[test]
fn the_socket_goes_through_the_proxy_and_shows_it_the_login() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let proxy = Proxy::start(hub.address(), "Basic bWU6cHc=").await;
        let mut config = hub.config();
        config.address = HubAddress::parse("http://hub.test:81").unwrap();
        config.proxies = Proxies::all(&format!("http://me:pw@{}", proxy.address), "");
        let (handle, _inbound) = start(config, &source);
        let _peer = hub.join().await;
        handle.ready().await.unwrap();
        let asked = proxy.asked.borrow().clone();
        assert_eq!(asked.len(), 1);
        assert!(asked[0].starts_with("CONNECT hub.test:81 HTTP/1.1\r\n"));
    });
}

#[test]
fn a_proxy_that_wants_a_login_is_named_without_the_one_that_it_got() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let proxy = Proxy::start(hub.address(), "Basic bWU6cHc=").await;
        let mut config = hub.config();
        config.address = HubAddress::parse("http://hub.test:81").unwrap();
        config.proxies = Proxies::all(&format!("http://me:wrong@{}", proxy.address), "");
        let (handle, _inbound) = start(config, &source);
        let error = handle.ready().await.unwrap_err().to_string();
        let named = error.contains("407") && error.contains(&proxy.address.to_string());
        assert!(named && !error.contains("wrong"), "{error}");
    });
}

#[test]
fn the_key_goes_into_the_url_only_for_a_hub_that_reads_it_nowhere_else() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let (handle, _inbound) = start(hub.config(), &source);
        let mut peer = hub.accept().await;
        assert!(!peer.uri.contains("KEY"), "{}", peer.uri);
        peer.close(4401).await;
        let mut peer = hub.accept().await;
        assert!(peer.uri.contains("api_key=agc_KEY"), "{}", peer.uri);
        peer.init().await;
        handle.ready().await.unwrap();
        // What a Hub has taken once is not asked of it again.
        drop(peer);
        assert!(hub.join().await.uri.contains("KEY"));

        for (mode, shown) in [(KeyInUrl::Never, false), (KeyInUrl::Always, true)] {
            let mut config = hub.config();
            config.key_in_url = mode;
            let own = Hub::start().await;
            config.address = own.config().address;
            let (handle, _inbound) = start(config, &source);
            let mut peer = own.accept().await;
            assert_eq!(peer.uri.contains("KEY"), shown);
            peer.close(4401).await;
            let error = handle.ready().await.unwrap_err();
            assert!(matches!(error, StartError::Refused(_)), "{error}");
        }
    });
}

#[test]
fn a_key_that_is_refused_late_is_read_again_and_then_waits() {
    run(async {
        let (hub, source) = (Hub::start().await, Source::new());
        let file = Arc::new(Mutex::new("agc_KEY"));
        let read = Arc::clone(&file);
        let mut config = hub.config();
        config.key_in_url = KeyInUrl::Never;
        let credentials = Credentials::new(Some("agc_KEY".into()), None).unwrap();
        config.credentials =
            credentials.renewable(Box::new(move || Ok((*read.lock().unwrap()).into())));
        let (handle, _inbound) = start(config, &source);
        let mut peer = hub.join().await;
        let mut status = handle.status();
        status.wait_for(|s| s.phase == Phase::Live).await.unwrap();
        *file.lock().unwrap() = "agc_NEW";
        peer.close(4401).await;
        let mut peer = hub.accept().await;
        assert_eq!(peer.key_header.as_deref(), Some("agc_NEW"));
        // Refused again, and the file holds nothing else: that is told, and tried slowly.
        peer.close(4401).await;
        let now = status.wait_for(|s| s.phase == Phase::Rejected).await;
        assert!(!now.unwrap().last_error.as_ref().unwrap().contains("agc_"));
        let mut peer = hub.join().await;
        status.wait_for(|s| s.phase == Phase::Live).await.unwrap();
        peer.close(1000).await;
    });
}

/// A key and a certificate for `hub.test` that signs itself; none without openssl.
fn certificate(dir: &Path) -> Option<()> {
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=hub.test", "-addext"])
        .args(["subjectAltName=DNS:hub.test", "-keyout", "key.pem"])
        .args(["-out", "ca.pem"])
        .current_dir(dir)
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Some(()),
        other => {
            assert!(std::env::var_os("CI").is_none(), "openssl: {other:?}");
            eprintln!("skipped: there is no openssl to make a certificate with");
            None
        }
    }
}

fn tls(dir: &Path) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config).into()
}

/// The real Hub behind TLS of its own; where it is.
async fn secure_hub(dir: &Path) -> (SocketAddr, LocalHub, String) {
    let (at, key) = (dir.join("hub"), ApiKey::new("agc_KEY"));
    let hub = LocalHub::open(&at, key, &Tasks::new()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = hub.serve(listener).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = listener.local_addr().unwrap();
    let tls = tls(dir);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else {
                    return;
                };
                let mut hub = TcpStream::connect(plain).await.unwrap();
                drop(copy_bidirectional(&mut stream, &mut hub).await);
            });
        }
    });
    let session = hub.create_session("", Map::new()).await.unwrap();
    (secure, hub, session.to_string())
}

#[test]
fn the_daemon_reaches_a_hub_of_a_private_ca_through_the_proxy_of_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    let Some(()) = certificate(dir.path()) else {
        return;
    };
    std::fs::create_dir(dir.path().join("hub")).unwrap();
    std::fs::write(dir.path().join("key"), "agc_KEY").unwrap();
    run(async {
        let (secure, hub, session) = secure_hub(dir.path()).await;
        let proxy = Proxy::start(secure, "CONNECT hub.test:443 ").await;
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .args(["daemon", "--hub", "https://hub.test", "--session", &session])
            .args(["--hub-key-file", "key", "--state-dir", "state"])
            .args(["--config", "config.toml", "--log-level", "trace"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", dir.path())
            .env("HTTPS_PROXY", format!("http://{}", proxy.address))
            .env("SSL_CERT_FILE", dir.path().join("ca.pem"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        let config = "[agents.claude]\ncommand = \"/bin/true\"\n";
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let mut daemon = command.spawn().unwrap();
        let mut asked = proxy.asked.clone();
        // REST and the socket: each goes through the tunnel of its own.
        let both = asked.wait_for(|asked| asked.len() >= 2);
        let joined = tokio::time::timeout(LIMIT, both).await.map(drop);
        // The socket of the API comes when the session is joined.
        let led = appears::path(&dir.path().join("state/api.sock"), LIMIT);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(joined.is_ok() && led, "{log}");
        assert!(!log.contains("agc_KEY"), "{log}");
        hub.stop().await;
    });
}

/// A daemon without any environment but this, until it ends by itself or is ended here.
fn daemon(dir: &Path, words: &[&str], variables: &[(&str, &str)]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command
        .arg("daemon")
        .args(words)
        .args(["--state-dir", "state", "--config", "config.toml"])
        .args(["--log-level", "trace"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", dir)
        .envs(variables.iter().copied())
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).unwrap());
    let config = "[agents.claude]\ncommand = \"/bin/true\"\n";
    std::fs::write(dir.join("config.toml"), config).unwrap();
    command
}

/// A catalyst that knows one Hub; the heads of the requests that it got.
async fn catalyst(hub: SocketAddr) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(String::new()));
    let asked = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            asked.lock().unwrap().push_str(&head);
            let body = format!("{{\"url\":\"http://{hub}\"}}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (address, heads)
}

#[test]
fn the_daemon_finds_its_hub_and_its_key_in_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("hub")).unwrap();
    run(async {
        let key = ApiKey::new("agc_KEY");
        let hub = LocalHub::open(&dir.path().join("hub"), key, &Tasks::new())
            .await
            .unwrap();
        let plain = hub
            .serve(TcpListener::bind("127.0.0.1:0").await.unwrap())
            .unwrap();
        let session = hub.create_session("", Map::new()).await.unwrap();
        let (catalyst, heads) = catalyst(plain).await;
        let catalyst = format!("http://{catalyst}");
        let variables = [
            ("AGENTUITY_CATALYST_URL", catalyst.as_str()),
            ("AGENTUITY_SDK_KEY", "agc_KEY"),
            ("AGENTUITY_CLOUD_ORG_ID", "org_7"),
        ];
        let words = ["--session", session.as_str()];
        let mut child = daemon(dir.path(), &words, &variables).spawn().unwrap();
        let led = appears::path(&dir.path().join("state/api.sock"), LIMIT);
        child.kill().unwrap();
        child.wait().unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(led && !log.contains("agc_KEY"), "{log}");
        let heads = heads.lock().unwrap().to_lowercase();
        assert!(heads.starts_with("get /coder "), "{heads}");
        assert!(heads.contains("x-agentuity-orgid: org_7"), "{heads}");
        hub.stop().await;
    });
}

#[test]
fn a_hub_whose_certificate_is_nobodys_is_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let Some(()) = certificate(dir.path()) else {
        return;
    };
    std::fs::create_dir(dir.path().join("hub")).unwrap();
    run(async {
        let (secure, hub, session) = secure_hub(dir.path()).await;
        let url = format!("https://127.0.0.1:{}", secure.port());
        let variables = [("AGENT_RUNNER_HUB_KEY", "agc_KEY")];
        let words = ["--hub", &url, "--session", &session, "--hub-wait", "1s"];
        let mut command = daemon(dir.path(), &words, &variables);
        let ended = tokio::task::spawn_blocking(move || command.status().unwrap());
        assert_eq!(ended.await.unwrap().code(), Some(69));
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(log.contains("certificate"), "{log}");
        assert!(!log.contains("agc_KEY"), "{log}");
        hub.stop().await;
    });
}
