//! Figures for monitoring, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::failure::Failure;
use super::server::Api;
use super::status::{phase, summary};
use crate::event::Outcome;

/// Every name that a label of ours can have is plain: nothing needs escaping but ids, which hold
/// no quotes, backslashes or line breaks.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    let mut text = String::new();
    let facts = api.host.daemon();
    let sessions = api.host.sessions();
    let version = facts.version;
    let mut out = |name: &str, kind: &str, help: &str, samples: Vec<(String, u64)>| {
        // Writing to a string cannot fail.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
        for (labels, value) in samples {
            writeln!(text, "{name}{labels} {value}").ok();
        }
    };
    let gauge = "gauge";
    let info = format!("{{version=\"{version}\"}}");
    out("agent_runner_info", gauge, "The program.", vec![(info, 1)]);
    let started = facts.started_at.millis() / 1000;
    let samples = vec![(String::new(), started)];
    out(
        "agent_runner_start_time_seconds",
        gauge,
        "When the daemon was started.",
        samples,
    );
    let mut states = BTreeMap::new();
    let mut queued = 0;
    let mut links = BTreeMap::new();
    for session in &sessions {
        let summary = summary(&api, session);
        queued += summary.queued as u64;
        *states.entry(summary.state).or_default() += 1;
        if let Some(link) = &session.link {
            *links.entry(phase(link.borrow().phase)).or_default() += 1;
        }
    }
    let samples = states.into_iter().map(|(state, count)| {
        let name = serde_json::to_string(&state).unwrap_or_default();
        (format!("{{state={name}}}"), count)
    });
    out(
        "agent_runner_sessions",
        gauge,
        "Sessions by what they are at.",
        samples.collect(),
    );
    let samples = vec![(String::new(), queued)];
    out(
        "agent_runner_prompts_queued",
        gauge,
        "Prompts that wait for a turn before them.",
        samples,
    );
    let samples = links
        .into_iter()
        .map(|(phase, count)| (format!("{{phase=\"{phase}\"}}"), count));
    out(
        "agent_runner_hub_links",
        gauge,
        "Links to the Hub by how they stand.",
        samples.collect(),
    );
    let Some(journal) = sessions.first().map(|session| session.journal.clone()) else {
        return Ok(answer(text));
    };
    let outcomes = journal.outcomes().await?;
    let samples = outcomes
        .into_iter()
        .map(|(outcome, count)| (label(outcome), count));
    out(
        "agent_runner_turns_ended_total",
        "counter",
        "Turns by outcome.",
        samples.collect(),
    );
    let samples = vec![(String::new(), journal.bytes().await?)];
    out(
        "agent_runner_journal_bytes",
        gauge,
        "The journal's size.",
        samples,
    );
    let mut lag = Vec::new();
    for session in &sessions {
        let row = journal.session(&session.id).await?;
        let last = journal.last_seq(&session.id).await?;
        let acked = row.map_or(0, |row| row.acked_seq);
        lag.push((
            format!("{{session=\"{}\"}}", session.id),
            last.saturating_sub(acked),
        ));
    }
    out(
        "agent_runner_hub_lag_events",
        gauge,
        "Events that the Hub has not acknowledged.",
        lag,
    );
    Ok(answer(text))
}

fn label(outcome: Outcome) -> String {
    let name = serde_json::to_string(&outcome).unwrap_or_default();
    format!("{{outcome={name}}}")
}

fn answer(text: String) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
