//! What an HTTP client sees.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use agent_runner::scripted_model::Script;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::server::{LIMIT, Server};

fn client() -> Client {
    // Err: another test of this process has installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().timeout(LIMIT).build().unwrap()
}

fn question(session: &str, texts: &[&str], stream: bool) -> Value {
    let messages: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(turn, text)| json!({"role": (["user", "assistant"][turn % 2]), "content": text}))
        .collect();
    json!({
        "model": "claude-opus-4-8",
        "max_tokens": 100,
        "stream": stream,
        "metadata": {"user_id": session},
        "messages": messages,
    })
}

async fn ask(server: &Server, question: &Value) -> Response {
    client()
        .post(format!("{}/v1/messages?beta=true", server.url))
        .header("x-api-key", "sk-secret")
        .json(question)
        .send()
        .await
        .unwrap()
}

/// The data of all events of a stream.
fn events(stream: &str) -> Vec<Value> {
    let lines = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    lines
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn text_of(events: &[Value]) -> String {
    let deltas = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str());
    deltas.collect()
}

#[tokio::test]
async fn a_text_is_streamed_in_chunks_and_every_response_says_that_no_model_is_behind_it() {
    let server = Server::start().await;
    let response = ask(&server, &question("s", &["scenario: thinking"], true)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-scripted-model"], "true");
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let events = events(&response.text().await.unwrap());
    assert_eq!(text_of(&events), "Thought ünïcode 🚀.");
    assert_eq!(events.first().unwrap()["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    server.stop().await;
}

#[tokio::test]
async fn sessions_that_ask_in_turns_do_not_disturb_each_other() {
    let server = Server::start().await;
    let mut said = Vec::new();
    for (session, texts) in [
        ("one", &["hi"][..]),
        ("two", &["hi"]),
        ("two", &["hi", "First.", "more"]),
        ("one", &["hi", "First.", "more"]),
    ] {
        let response = ask(&server, &question(session, texts, false)).await;
        let message: Value = response.json().await.unwrap();
        said.push(message["content"][0]["text"].as_str().unwrap().to_owned());
    }
    assert_eq!(said, ["First.", "First.", "Second.", "Second."]);
    server.stop().await;
}

#[tokio::test]
async fn a_failure_has_its_status_header_and_body_and_ends_after_its_times() {
    let server = Server::start().await;
    let question = question("s", &["scenario: rate limit once"], true);
    let response = ask(&server, &question).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["x-scripted-model"], "true");
    let body: Value = response.json().await.unwrap();
    let error = json!({"type": "rate_limit_error", "message": "slow down"});
    assert_eq!(body, json!({"type": "error", "error": error}));
    assert_eq!(ask(&server, &question).await.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_early_has_a_regular_end_but_no_last_event() {
    let server = Server::start().await;
    let question = question("s", &["scenario: end once"], true);
    let cut = events(&ask(&server, &question).await.text().await.unwrap());
    assert_eq!(text_of(&cut), "This text is longer ");
    assert!(cut.iter().all(|event| event["type"] != "message_stop"));
    let whole = events(&ask(&server, &question).await.text().await.unwrap());
    assert_eq!(whole.last().unwrap()["type"], "message_stop");
    assert_ne!(cut[0]["message"]["id"], whole[0]["message"]["id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_reset_comes_after_the_chunks_that_were_asked_for() {
    let server = Server::start().await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let body = question("s", &["scenario: reset once"], true).to_string();
    let raw = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let length = body.len();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        let mut received = Vec::new();
        let error = socket.read_to_end(&mut received).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        String::from_utf8(received).unwrap()
    })
    .await
    .unwrap();
    assert!(
        raw.contains("This text ") && raw.contains("is longer "),
        "{raw}"
    );
    assert!(!raw.contains("than two c"), "{raw}");
    server.stop().await;
}

#[tokio::test]
async fn a_prompt_of_many_megabytes_is_taken_and_recorded_whole() {
    let server = Server::start().await;
    let prompt = format!("scenario: echo {}", "ünï 🚀 \"q\"\n".repeat(800_000));
    assert!(prompt.len() > 10 * 1024 * 1024);
    let response = ask(&server, &question("s", &[&prompt], false)).await;
    let message: Value = response.json().await.unwrap();
    assert!(message["content"][0]["text"] == prompt.as_str());
    assert!(server.record()[0]["body"]["messages"][0]["content"] == prompt.as_str());
    server.stop().await;
}

#[tokio::test]
async fn the_record_is_private_and_holds_no_key() {
    let server = Server::start().await;
    ask(&server, &question("s", &["hi"], false)).await;
    let get = client().get(format!("{}/v1/models?key=sk-secret", server.url));
    get.send().await.unwrap();
    let path = server.record_path();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        !std::fs::read_to_string(&path)
            .unwrap()
            .contains("sk-secret")
    );
    let record = server.record();
    assert_eq!(record[0]["method"], "POST");
    assert_eq!(record[0]["path"], "/v1/messages");
    assert_eq!(
        record[1],
        json!({"method": "GET", "path": "/v1/models", "body": null})
    );
    server.stop().await;
}

#[tokio::test]
async fn the_small_routes_answer_and_others_say_what_is_served() {
    let server = Server::start().await;
    let client = client();
    let head = client.head(&server.url).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    let root = client.get(&server.url).send().await.unwrap();
    assert!(
        root.text()
            .await
            .unwrap()
            .contains("no model is behind this, it plays features.toml")
    );
    let models = client
        .get(format!("{}/v1/models", server.url))
        .send()
        .await
        .unwrap();
    assert!(
        models
            .text()
            .await
            .unwrap()
            .contains("no model is behind this")
    );
    let count = client
        .post(format!("{}/v1/messages/count_tokens", server.url))
        .json(&question("s", &["12345678"], false));
    let count: Value = count.send().await.unwrap().json().await.unwrap();
    assert_eq!(count, json!({"input_tokens": 2}));
    let other = client
        .get(format!("{}/v1/files", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    let body: Value = other.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("GET /v1/files") && message.contains("POST /v1/messages"));
    server.stop().await;
}

#[tokio::test]
async fn each_format_has_its_own_replies_and_errors_on_the_same_port() {
    let server = Server::start().await;
    for (path, reply, error_name) in [
        ("v1/messages", "/content/0/text", "/error/type"),
        ("v1/responses", "/output/0/content/0/text", "/error/code"),
        (
            "v1/chat/completions",
            "/choices/0/message/content",
            "/error/code",
        ),
        (
            "v1beta/models/m:generateContent",
            "/candidates/0/content/parts/0/text",
            "/error/status",
        ),
    ] {
        let ask = async |text: &str| {
            let messages = json!([{"role": "user", "content": text}]);
            let contents = json!([{"role": "user", "parts": [{"text": text}]}]);
            let body = json!({"model": "m", "messages": messages, "input": messages, "contents": contents});
            let url = format!("{}/{path}", server.url);
            let response = client().post(url).json(&body).send().await.unwrap();
            assert_eq!(response.headers()["x-scripted-model"], "true", "{path}");
            let status = response.status().as_u16();
            (status, response.json::<Value>().await.unwrap())
        };
        let (status, body) = ask("scenario: echo").await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(body.pointer(reply).unwrap(), "scenario: echo", "{body}");
        let (status, body) = ask(&format!("scenario: rate limit once, {path}")).await;
        assert_eq!(status, 429, "{path}");
        assert_eq!(body["error"]["message"], "slow down", "{path}");
        let name = body.pointer(error_name).unwrap().as_str().unwrap();
        let limits = [
            "rate_limit_error",
            "rate_limit_exceeded",
            "RESOURCE_EXHAUSTED",
        ];
        assert!(limits.contains(&name), "{path} {name}");
        let (status, _) = ask("scenario: server error").await;
        assert_eq!(status, 500, "{path}");
    }
    let count = json!({"contents": [{"parts": [{"text": "12345678"}]}]});
    let url = format!("{}/v1beta/models/m:countTokens", server.url);
    let count = client().post(url).json(&count).send().await.unwrap();
    assert_eq!(count.json::<Value>().await.unwrap()["totalTokens"], 2);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_with_the_reason() {
    let server = Server::start().await;
    let response = ask(&server, &json!({"model": "m"})).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("missing field `messages`"), "{message}");
    server.stop().await;
}

#[tokio::test]
async fn stopping_cuts_a_reply_that_would_take_an_hour() {
    let text = "[[reply]]\nsteps = [{ say = \"a\" }, { wait_ms = 3600000 }, { say = \"b\" }]\n";
    let server = Server::playing(Script::parse("slow", text).unwrap()).await;
    let mut response = ask(&server, &question("s", &["hi"], true)).await;
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: message_start"));
    server.stop().await;
    while let Ok(Some(_)) = response.chunk().await {}
}
