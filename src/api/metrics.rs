//! Figures for monitoring, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::failure::Failure;
use super::host::HostedSession;
use super::server::Api;
use super::status::{phase, summary};
use crate::journal::Journal;

/// Answers with all of them.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    let mut text = Exposition::default();
    let facts = api.host.daemon();
    let sessions = api.host.sessions();
    let version = format!("{{version=\"{}\"}}", facts.version);
    text.gauge("agent_runner_info", "The program.", [(version, 1)]);
    text.gauge(
        "agent_runner_start_time_seconds",
        "When the daemon was started.",
        alone(facts.started_at.millis() / 1000),
    );
    count_sessions(&mut text, &api, &sessions);
    if let Some(session) = sessions.first() {
        read_journal(&mut text, &session.journal, &sessions).await?;
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text.0).into_response())
}

fn count_sessions(text: &mut Exposition, api: &Api, sessions: &[HostedSession]) {
    let mut states = BTreeMap::new();
    let mut queued = 0;
    let mut links = BTreeMap::new();
    for session in sessions {
        let summary = summary(api, session);
        queued += summary.queued as u64;
        *states.entry(summary.state).or_default() += 1;
        if let Some(link) = &session.link {
            *links.entry(phase(link.borrow().phase)).or_default() += 1;
        }
    }
    text.gauge(
        "agent_runner_sessions",
        "Sessions by what they are at.",
        labelled("state", states),
    );
    text.gauge(
        "agent_runner_prompts_queued",
        "Prompts that wait for a turn before them.",
        alone(queued),
    );
    text.gauge(
        "agent_runner_hub_links",
        "Links to the Hub by how they stand.",
        labelled("phase", links),
    );
}

async fn read_journal(
    text: &mut Exposition,
    journal: &Journal,
    sessions: &[HostedSession],
) -> Result<(), Failure> {
    text.counter(
        "agent_runner_turns_ended_total",
        "Turns by outcome.",
        labelled("outcome", journal.outcomes().await?),
    );
    text.gauge(
        "agent_runner_journal_bytes",
        "The journal's size.",
        alone(journal.bytes().await?),
    );
    let mut lag = Vec::new();
    for session in sessions {
        let row = journal.session(&session.id).await?;
        let last = journal.last_seq(&session.id).await?;
        let acked = row.map_or(0, |row| row.acked_seq);
        lag.push((session.id.clone(), last.saturating_sub(acked)));
    }
    text.gauge(
        "agent_runner_hub_lag_events",
        "Events that the Hub has not acknowledged.",
        labelled("session", lag),
    );
    Ok(())
}

/// The text as it grows.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    /// What goes up and down.
    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        self.family(name, "gauge", help, samples);
    }

    /// What only grows.
    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        self.family(name, "counter", help, samples);
    }

    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        // Writing to a string cannot fail.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
        for (labels, value) in samples {
            writeln!(self.0, "{name}{labels} {value}").ok();
        }
    }
}

/// Labels, as they are written, and a value.
type Sample = (String, u64);

/// One value without a label.
fn alone(value: u64) -> [Sample; 1] {
    [(String::new(), value)]
}

/// Values by what they are of. What a label of ours can be is plain text in JSON: ids hold no
/// quotes, backslashes or line breaks, so that its form there is its form here.
fn labelled<N: Serialize>(
    label: &str,
    values: impl IntoIterator<Item = (N, u64)>,
) -> impl Iterator<Item = Sample> {
    values.into_iter().map(move |(name, value)| {
        let name = serde_json::to_string(&name).unwrap_or_default();
        (format!("{{{label}={name}}}"), value)
    })
}
