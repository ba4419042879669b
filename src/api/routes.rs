//! The table of routes: what the router is built from, and the tests go through.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::server::Api;
use super::{approval, events, guard, logs, metrics, requests, settings, status};
use crate::image;

/// The most that a request's body may hold.
const MAX_BODY: usize = 1024 * 1024;
/// The same with images: as many as a prompt takes, in base64, beside its words.
pub(super) const WITH_IMAGES: usize = image::MAX_BYTES / 3 * 4 + MAX_BODY;

/// How long a client may take to send its request's body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// A route.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Arc<Api>>,
}

/// Every route.
pub(super) fn all() -> impl Iterator<Item = Route> {
    let session = "/v1/sessions/{id}";
    let got = |path, handler| Route {
        method: Method::GET,
        path,
        handler,
    };
    let posted = |path, handler| Route {
        method: Method::POST,
        path,
        handler,
    };
    [
        got(guard::OPEN, get(status::health)),
        got("/v1/openapi.json", get(document)),
        got("/v1/metrics", get(metrics::metrics)),
        got("/v1/daemon", get(status::daemon)),
        got("/v1/hub", get(status::hub)),
        got("/v1/sessions", get(status::sessions)),
        posted("/v1/sessions", post(requests::create)),
        got(session, get(status::session)),
        Route {
            method: Method::DELETE,
            path: session,
            handler: delete(requests::end),
        },
        got("/v1/sessions/{id}/turns", get(status::turns)),
        got("/v1/sessions/{id}/events", get(events::events)),
        got("/v1/sessions/{id}/logs", get(logs::logs)),
        posted("/v1/sessions/{id}/prompts", post(requests::prompt)),
        posted("/v1/sessions/{id}/cancel", post(requests::cancel)),
        got("/v1/sessions/{id}/settings", get(settings::show)),
        posted("/v1/sessions/{id}/settings", post(settings::change)),
        got("/v1/sessions/{id}/requests", get(approval::list)),
        posted(
            "/v1/sessions/{id}/requests/{request_id}",
            post(approval::answer),
        ),
    ]
    .into_iter()
}

/// Every route's method and path, for whoever holds the API to its document.
pub fn table() -> impl Iterator<Item = (Method, &'static str)> {
    all().map(|route| (route.method, route.path))
}

/// The API's document, in `OpenAPI` 3.1.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

pub(super) async fn unknown(uri: Uri) -> Failure {
    let message = format!("there is nothing at {}", uri.path());
    let hint = "the API is described by GET /v1/openapi.json";
    Failure::new(StatusCode::NOT_FOUND, "unknown_path", message, hint)
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let message = format!("{} does not take {method}", uri.path());
    let hint = "the API is described by GET /v1/openapi.json";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Failure::new(status, "wrong_method", message, hint)
}

/// A request's body as JSON, within its limits; `None` where there is none.
pub(super) async fn body<T: DeserializeOwned>(body: Body) -> Result<Option<T>, Failure> {
    body_up_to(body, MAX_BODY).await
}

/// As [`body`], with another limit, in bytes.
pub(super) async fn body_up_to<T: DeserializeOwned>(
    body: Body,
    limit: usize,
) -> Result<Option<T>, Failure> {
    let read = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, limit)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("the body is longer than {limit} bytes, or broke off"),
                "have the agent read what is large from a file",
            ));
        }
        Err(_) => {
            return Err(Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                format!("the body did not come within {} s", BODY_PATIENCE.as_secs()),
                "send it in one piece",
            ));
        }
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Failure::invalid(format!("the body is not what is asked for: {error}")))
}

/// The parameters of a request's query, each known to `known` and given once.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Failure> {
        let pairs = url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes());
        let pairs: Vec<(String, String)> = pairs.into_owned().collect();
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Failure::invalid(format!(
                    "unknown parameter `{name}`; this route knows {}",
                    known.join(", ")
                )));
            }
            if pairs.iter().take(index).any(|(other, _)| other == name) {
                return Err(Failure::invalid(format!("`{name}` is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs.find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    pub(super) fn value<T: std::str::FromStr>(
        &self,
        name: &str,
        wanted: &str,
    ) -> Result<Option<T>, Failure> {
        let read = |text: &str| {
            text.parse()
                .map_err(|_| Failure::invalid(format!("`{name}` is `{text}`, not {wanted}")))
        };
        self.text(name).map(read).transpose()
    }

    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "1" | "") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(Failure::invalid(format!(
                "`{name}` is `{other}`, not true or false"
            ))),
        }
    }
}
