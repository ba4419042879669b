use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers one request with `answer`; gives the request's text.
async fn serve(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.to_lowercase();
        let length = length
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| {
                rest.lines().next().unwrap().trim().parse().unwrap()
            });
        if text.contains("\r\n\r\n") && body.len() >= length {
            stream.write_all(answer.as_bytes()).await.unwrap();
            return text;
        }
    }
}

fn answer(status: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn credentials() -> Credentials {
    Credentials::new(Some("sk_KEY".into()), Some("org_1".into())).unwrap()
}

async fn hub() -> (TcpListener, RestClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let address = HubAddress::parse(&format!("ws://{address}/api/ws?token=sk_KEY")).unwrap();
    (listener, RestClient::new(address, &credentials()).unwrap())
}

#[tokio::test]
async fn a_session_is_created_and_looked_at() {
    let (listener, client) = hub().await;
    let created = json!({"sessionId": "codesess_1", "status": "created", "sandboxId": null});
    let reply = answer("201 Created", "", &created);
    let task = json!({"task": "fix"});
    let (request, created) = tokio::join!(serve(&listener, &reply), client.create_session(&task));
    let created = created.unwrap();
    assert_eq!(created.session_id.as_str(), "codesess_1");
    assert!(
        request.starts_with("POST /api/hub/session HTTP/1.1"),
        "{request}"
    );
    assert!(request.contains("authorization: Bearer sk_KEY"));
    assert!(request.contains("x-agentuity-orgid: org_1"));
    assert!(request.ends_with(r#"{"task":"fix"}"#));

    let detail = json!({"sessionId": "codesess_1", "task": "fix", "label": "l",
        "repo": {"cloneUrl": "https://x/y"}});
    let reply = answer("200 OK", "", &detail);
    let id = created.session_id;
    let (request, detail) = tokio::join!(serve(&listener, &reply), client.session(&id));
    let detail = detail.unwrap();
    assert!(request.starts_with("GET /api/hub/session/codesess_1 "));
    assert_eq!(detail.task.as_deref(), Some("fix"));
    assert_eq!(detail.rest["label"], "l");
}

#[tokio::test]
async fn errors_say_what_the_hub_said_and_never_the_key() {
    let (listener, client) = hub().await;
    let id: SessionId = "s1".parse().unwrap();
    for (status, transient) in [
        ("401 Unauthorized", false),
        ("404 Not Found", false),
        ("400 Bad Request", false),
        ("302 Found", false),
        ("503 Unavailable", true),
    ] {
        let body = json!({"error": {"name": "ZodError"}, "message": "no, because"});
        let reply = answer(status, "location: http://127.0.0.1:1/\r\n", &body);
        let (_, error) = tokio::join!(serve(&listener, &reply), client.session(&id));
        let error = error.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("no, because") && !shown.contains("KEY"),
            "{shown}"
        );
    }
    let reply = answer("200 OK", "", &json!({"sessionId": "../x"}));
    let (_, error) = tokio::join!(serve(&listener, &reply), client.session(&id));
    assert!(matches!(error, Err(RestError::Nonsense { .. })));
    drop(listener);
    let error = client.session(&id).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(error.is_transient() && !shown.contains("KEY"), "{shown}");
}

#[tokio::test]
async fn a_hub_is_found_through_the_catalyst() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let from = Discovery {
        catalyst_url: Some(format!("http://{}/", listener.local_addr().unwrap())),
        region: None,
    };
    let reply = answer("200 OK", "", &json!({"url": "https://hub.example/"}));
    let own = credentials();
    let (request, found) = tokio::join!(serve(&listener, &reply), discover(&from, &own));
    assert!(request.starts_with("GET /coder "));
    assert_eq!(found.unwrap().to_string(), "wss://hub.example/api/ws");
    let region = |region: &str| {
        catalyst(&Discovery {
            catalyst_url: None,
            region: Some(region.to_owned()),
        })
    };
    assert_eq!(region(""), "https://catalyst-usc.agentuity.cloud");
    assert_eq!(region("local"), "https://catalyst.agentuity.io");
}
