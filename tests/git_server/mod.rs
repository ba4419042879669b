//! git's own HTTP server (`git http-backend`) on loopback, behind a token or a redirect.

mod lfs;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode, header};
use base64::Engine as _;
use tokio::sync::oneshot;

/// What stands before the repositories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// The token that requests must carry.
    pub(crate) token: Option<&'static str>,
    /// The file that holds the token which they must carry, as it is then.
    pub(crate) token_file: Option<PathBuf>,
    /// The token of the first push is refused after all.
    pub(crate) expires: bool,
    /// Where requests are sent instead.
    pub(crate) redirect: Option<String>,
    /// The status that every request gets.
    pub(crate) status: Option<u16>,
}

/// Serves the repositories below a folder until it is dropped.
pub(crate) struct GitServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GitServer {
    pub(crate) fn start(root: &Path, behaviour: Behaviour) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let backend = Backend {
            root: root.to_owned(),
            behaviour,
            requests: Arc::clone(&requests),
            pushes: Arc::default(),
        };
        let thread = std::thread::spawn(move || serve(listener, backend, stopped));
        Self {
            address,
            requests,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

#[derive(Clone)]
struct Backend {
    root: PathBuf,
    behaviour: Behaviour,
    requests: Arc<AtomicUsize>,
    pushes: Arc<AtomicUsize>,
}

fn serve(listener: std::net::TcpListener, backend: Backend, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let app = axum::Router::new().fallback(move |request| answer(backend.clone(), request));
        tokio::select! {
            served = async { axum::serve(listener, app).await } => served.unwrap(),
            _ = stopped => {} // the test is over; open connections are not waited for
        }
    });
}

async fn answer(backend: Backend, request: Request) -> Response<Body> {
    backend.requests.fetch_add(1, Ordering::SeqCst);
    let plain = |status, name, value: String| {
        let response = Response::builder().status(status).header(name, value);
        response.body(Body::empty()).unwrap()
    };
    if let Some(to) = &backend.behaviour.redirect {
        let rest = request.uri().path_and_query().unwrap().as_str();
        let location = format!("{}{rest}", to.trim_end_matches('/'));
        return plain(StatusCode::FOUND, header::LOCATION, location);
    }
    if let Some(status) = backend.behaviour.status {
        let status = StatusCode::from_u16(status).unwrap();
        return plain(status, header::CONTENT_TYPE, "text/plain".to_owned());
    }
    let in_file = backend.behaviour.token_file.as_ref().map(|path| {
        let token = std::fs::read_to_string(path).unwrap_or_default();
        token.trim().to_owned()
    });
    let is_push = request.method() == "POST" && request.uri().path().ends_with("receive-pack");
    let expires =
        backend.behaviour.expires && is_push && backend.pushes.fetch_add(1, Ordering::SeqCst) == 0;
    if let Some(token) = backend.behaviour.token.map(str::to_owned).or(in_file) {
        let pair =
            base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
        let given = request.headers().get(header::AUTHORIZATION);
        if expires || given.is_none_or(|given| given != &format!("Basic {pair}")) {
            let challenge = "Basic realm=\"git\"".to_owned();
            return plain(
                StatusCode::UNAUTHORIZED,
                header::WWW_AUTHENTICATE,
                challenge,
            );
        }
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let host = head.headers.get(header::HOST).unwrap().to_str().unwrap();
    let asked = (&head.method, head.uri.path());
    let stored = lfs::answer(&backend.root, &format!("http://{host}"), asked, &body);
    if let Some(answer) = stored {
        return answer;
    }
    let text = |name| header_text(&head.headers, name);
    let variables = [
        ("GIT_PROJECT_ROOT", backend.root.display().to_string()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("REQUEST_METHOD", head.method.to_string()),
        ("PATH_INFO", head.uri.path().to_owned()),
        ("QUERY_STRING", head.uri.query().unwrap_or("").to_owned()),
        ("CONTENT_TYPE", text("content-type")),
        ("HTTP_CONTENT_ENCODING", text("content-encoding")),
        ("HTTP_GIT_PROTOCOL", text("git-protocol")),
        ("CONTENT_LENGTH", body.len().to_string()),
    ];
    cgi(&variables, &body)
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or("").to_owned()
}

/// Runs the program for one request and turns what it prints into a response.
fn cgi(variables: &[(&str, String)], body: &Bytes) -> Response<Body> {
    let mut child = Command::new("git")
        .arg("http-backend")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_1", "http.receivepack")
        .env("GIT_CONFIG_VALUE_1", "true")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stdin, body) = (child.stdin.take().unwrap(), body.clone());
    // A request that is refused early is not read to its end.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().unwrap().stdout;
    writing.join().unwrap();
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let (head, content) = output.split_at(end + 4);
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(head)
        .lines()
        .filter(|line| !line.is_empty())
    {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(&value[..3]),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(content.to_vec())).unwrap()
}
