//! The API's document against the router's own table and real answers.

use agent_runner::api;
use serde_json::{Value, json};

use crate::place::Place;
use crate::wire::{Answer, by_socket};

fn document() -> Value {
    serde_json::from_str(api::DOCUMENT).unwrap()
}

/// Why `value` is not what `schema` says, as far as the document uses JSON Schema.
fn faults(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).unwrap();
        return faults(document, target, value, place);
    }
    let mut found = Vec::new();
    let is_kind = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => panic!("{place}: a schema without a type: {schema}"),
    };
    if !is_kind {
        return vec![format!("{place}: {value} is no {}", schema["type"])];
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        found.push(format!("{place}: {value} is none of {known:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(
            document,
            &schema["items"],
            item,
            &format!("{place}[{index}]"),
        ));
    }
    let Some(fields) = value.as_object() else {
        return found;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{place}: no {name}"));
        }
    }
    for (name, field) in fields {
        let place = format!("{place}.{name}");
        match (
            schema["properties"].get(name),
            &schema["additionalProperties"],
        ) {
            (Some(property), _) => found.extend(faults(document, property, field, &place)),
            (None, Value::Bool(false)) => found.push(format!("{place} is not in the document")),
            (None, more @ Value::Object(_)) => found.extend(faults(document, more, field, &place)),
            (None, _) => {}
        }
    }
    found
}

/// Holds a real answer to what the document says of that route.
pub(crate) fn hold(answer: &Answer, method: &str, path: &str) {
    let document = document();
    let operation = &document["paths"][path][method.to_lowercase()];
    let responses = &operation["responses"];
    let status = answer.status.to_string();
    let response = responses.get(&status).unwrap_or(&responses["default"]);
    if answer.status >= 300 {
        assert_eq!(
            response, &responses["default"],
            "{method} {path}: {answer:?}"
        );
    }
    let head = answer.head.to_ascii_lowercase();
    let kind = head.split("content-type: ").nth(1).unwrap();
    let kind = kind.split(['\r', ';']).next().unwrap();
    let schema = &response["content"][kind]["schema"];
    assert!(
        schema.is_object(),
        "{method} {path} gives {kind}: {answer:?}"
    );
    let value = match kind {
        "application/json" => answer.json(),
        _ => Value::from(answer.body.as_str()),
    };
    let found = faults(&document, schema, &value, path);
    assert!(found.is_empty(), "{method} {path}: {found:#?}");
}

#[test]
fn every_route_is_in_the_document_and_the_reverse() {
    let document = document();
    let mut documented: Vec<String> = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            documented.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    let routes = api::table().map(|(method, path)| format!("{method} {path}"));
    let mut routes: Vec<String> = routes.collect();
    routes.sort();
    documented.sort();
    assert_eq!(routes, documented);
}

#[test]
#[allow(clippy::too_many_lines)] // one talk, in its order
fn every_real_answer_is_as_the_document_says() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("one");
    let words = ["--config", &config, "Say something."];
    let started = crate::place::Started::read(&place.start(&folder, &words));
    let socket = place.bench.path("state/api.sock");
    let ask = |method: &str, route: &str, query: &str, body: &Value| {
        let target = route
            .replace("{id}", &started.session)
            .replace("{request_id}", "none");
        let target = target + query;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = by_socket(&socket, method, &target, "", &body);
        hold(&answer, method, route);
        answer
    };
    let session = "/v1/sessions/{id}";
    let prompts = "/v1/sessions/{id}/prompts";
    let cancel = "/v1/sessions/{id}/cancel";
    let events = "/v1/sessions/{id}/events";
    let logs = "/v1/sessions/{id}/logs";
    crate::running::made(&folder_begun(&place, &started.session));
    for route in [
        "/healthz",
        "/v1/openapi.json",
        "/v1/daemon",
        "/v1/sessions",
        session,
    ] {
        assert_eq!(ask("GET", route, "", &Value::Null).status, 200, "{route}");
    }
    let running = ask("GET", session, "", &Value::Null).json();
    assert_eq!(running["state"], "running");
    assert_eq!(running["running"]["turn_id"], started.turn);
    let queued = ask(
        "POST",
        prompts,
        "",
        &json!({"text": "More.", "prompt_id": "p-1"}),
    );
    assert_eq!(queued.status, 201);
    let again = ask(
        "POST",
        prompts,
        "",
        &json!({"text": "More.", "prompt_id": "p-1"}),
    );
    assert_eq!(again.json(), queued.json(), "one prompt id is one prompt");
    let turns = ask("GET", "/v1/sessions/{id}/turns", "", &Value::Null).json();
    assert_eq!(turns["turns"].as_array().unwrap().len(), 2);
    assert_eq!(turns["turns"][1]["state"], "queued");
    let cancelled = ask("POST", cancel, "", &Value::Null).json();
    let outcomes: Vec<_> = cancelled["turns"].as_array().unwrap().iter().collect();
    assert!(
        outcomes.iter().all(|turn| turn["outcome"] == "cancelled"),
        "{cancelled}"
    );
    assert_eq!(outcomes.len(), 2);
    let page = ask("GET", events, "?limit=2", &Value::Null).json();
    assert_eq!(page["next_after"], 2);
    let all = ask("GET", events, "", &Value::Null).json();
    assert_eq!(all["next_after"], all["last_seq"]);
    let turn = format!("?turn={}", started.turn);
    let of_turn = ask("GET", events, &turn, &Value::Null).json();
    assert_eq!(of_turn["turn_ended"], true);
    for event in of_turn["events"].as_array().unwrap() {
        assert_eq!(event["turn_id"], started.turn);
    }
    ask("GET", "/v1/metrics", "", &Value::Null);
    let figures = ask("GET", "/v1/metrics", "", &Value::Null).body;
    assert!(
        figures.contains("agent_runner_turns_ended_total{outcome=\"cancelled\"} 2"),
        "{figures}"
    );
    assert!(
        figures.contains("agent_runner_sessions{state=\"idle\"} 1"),
        "{figures}"
    );
    assert_eq!(ask("GET", logs, "", &Value::Null).status, 200);
    let requests = ask("GET", "/v1/sessions/{id}/requests", "", &Value::Null);
    assert_eq!(requests.json(), json!({"requests": []}));
    refusals(ask, &all["last_seq"]);
    Place::end(started.pid, nix::sys::signal::Signal::SIGTERM);
}

/// What is refused is as the document says, too.
fn refusals(ask: impl Fn(&str, &str, &str, &Value) -> Answer, last: &Value) {
    let prompts = "/v1/sessions/{id}/prompts";
    let events = "/v1/sessions/{id}/events";
    let ahead = ask("GET", events, "?after=100000", &Value::Null);
    assert_eq!((ahead.status, &ahead.json()["last_seq"]), (416, last));
    for (query, word) in [
        ("?after=x", "a seq"),
        ("?aftr=1", "aftr"),
        ("?follow=true", "Accept"),
    ] {
        let refused = ask("GET", events, query, &Value::Null);
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(word), "{refused:?}");
    }
    let empty = ask("POST", prompts, "", &json!({"text": " "}));
    assert_eq!(empty.status, 400);
    let unknown = ask("POST", prompts, "", &json!({"txt": "x"}));
    assert!(unknown.body.contains("txt"), "{unknown:?}");
    let answer = "/v1/sessions/{id}/requests/{request_id}";
    let unknown = ask("POST", answer, "", &json!({"decision": "allow"}));
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (404, &json!("unknown_request"))
    );
    let wrong = ask("POST", answer, "", &json!({"decision": "perhaps"}));
    assert_eq!(wrong.status, 400);
    let create = json!({"cwd": "/", "task": "x", "settings": {"modle": ["m"]}});
    let refused = ask("POST", "/v1/sessions", "", &create);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("did you mean `model`"), "{refused:?}");
}

/// The file that the gated CLI makes when it has begun.
pub(crate) fn folder_begun(place: &Place, session: &str) -> std::path::PathBuf {
    let mut workspace = None;
    crate::running::eventually("the session has a workspace", || {
        workspace = place.status(session)["workspace"]
            .as_str()
            .map(str::to_owned);
        workspace.is_some()
    });
    std::path::Path::new(&workspace.unwrap()).join("begun")
}
