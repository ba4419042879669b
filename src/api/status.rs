//! What there is and how it stands: the daemon, its sessions, their turns.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::{Extension, Json};
use secrecy::ExposeSecret as _;

use super::failure::Failure;
use super::guard::{Peer, forbidden};
use super::host::{HostedSession, HubDoor, LedSession, Standing};
use super::routes::Query;
use super::server::Api;
use super::wire::{
    AgentDoing, DaemonStatus, Health, HubJoin, JournalState, LinkState, RunningTurn, SessionList,
    SessionState, SessionStatus, SessionSummary, TurnList, TurnPhase, TurnStatus,
};
use crate::clock::Timestamp;
use crate::hub::Phase;
use crate::journal::{TurnState, TurnSummary};
use crate::turn::activity::Doing;

/// Turns that are listed where nobody says how many.
const TURNS: u32 = 100;

/// The most turns that are listed.
const MOST_TURNS: u32 = 1000;

/// Well is a daemon that can tell its Hub what happens, or may be able to soon.
pub(super) async fn health(State(api): State<Arc<Api>>) -> Json<Health> {
    let cut_off = |session: &HostedSession| {
        let phase = session.link.as_ref().map(|link| link.borrow().phase);
        matches!(phase, Some(Phase::Fenced | Phase::Rejected))
    };
    let degraded = api.host.sessions().iter().any(cut_off);
    let status = if degraded { "degraded" } else { "ok" };
    Json(Health {
        status: status.to_owned(),
    })
}

pub(super) async fn daemon(State(api): State<Arc<Api>>) -> Json<DaemonStatus> {
    let facts = api.host.daemon();
    let mut sessions = BTreeMap::new();
    for session in api.host.sessions() {
        *sessions.entry(summary(&api, &session).state).or_default() += 1;
    }
    let now = api.clock.wall().millis();
    Json(DaemonStatus {
        version: facts.version.to_owned(),
        pid: facts.pid,
        started_at: facts.started_at,
        uptime_ms: now.saturating_sub(facts.started_at.millis()),
        state_dir: facts.state_dir.display().to_string(),
        hub: facts.hub,
        room: facts.room.into(),
        sessions,
    })
}

/// The Hub, for the daemon's own user: what joins a session there can have its calls approved.
pub(super) async fn hub(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<HubJoin>, Failure> {
    if let Peer::Network { .. } = peer {
        return Err(forbidden(
            "the way to the Hub is told on the daemon's own socket only",
            "ask there, as the daemon's user",
        ));
    }
    let HubDoor { address, key } = api.host.hub();
    let key = key.map(|key| key.expose_secret().to_owned());
    Ok(Json(HubJoin { address, key }))
}

pub(super) async fn sessions(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<Json<SessionList>, Failure> {
    let query = Query::read(&uri, &["all"])?;
    let mut sessions = api.host.sessions();
    if query.switch("all")?.unwrap_or(false) {
        sessions.extend(api.host.ended());
    }
    let sessions = sessions.iter().map(|session| summary(&api, session));
    Ok(Json(SessionList {
        sessions: sessions.collect(),
    }))
}

pub(super) async fn session(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<SessionStatus>, Failure> {
    let hosted = find(&api, &id)?;
    let journal = &hosted.journal;
    let row = journal.session(&hosted.id).await?;
    let first = journal.first_seq(&hosted.id).await?;
    let last = journal.last_seq(&hosted.id).await?;
    let usage = api.tallies.total(journal, &hosted.id, last).await?;
    let turns = journal.newest_turns(&hosted.id, TURNS).await?;
    let mut ended = turns
        .into_iter()
        .rev()
        .filter(|turn| turn.outcome.is_some());
    let led = led_now(&hosted);
    let acked = row.as_ref().map_or(0, |row| row.acked_seq);
    Ok(Json(SessionStatus {
        summary: summary(&api, &hosted),
        agent_version: led.as_ref().and_then(|led| led.agent_version.clone()),
        agent_session_id: row.and_then(|row| row.agent_session_id),
        model: led.and_then(|led| led.model),
        last_turn: ended.next().map(turn),
        link: hosted.link.as_ref().map(|link| {
            let status = link.borrow();
            LinkState {
                phase: phase(status.phase).to_owned(),
                since: status.since,
                age_ms: api
                    .clock
                    .wall()
                    .millis()
                    .saturating_sub(status.since.millis()),
                in_flight: status.in_flight,
                unanswered: status.unanswered,
                losses: status.losses,
                last_error: status.last_error.clone(),
            }
        }),
        journal: JournalState {
            first_seq: first.map_or(0, crate::ids::Seq::get),
            last_seq: last,
            acked_seq: acked,
        },
        usage,
    }))
}

pub(super) async fn turns(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<TurnList>, Failure> {
    let query = Query::read(&uri, &["limit"])?;
    let limit = query.value("limit", "a number of turns")?.unwrap_or(TURNS);
    let hosted = find(&api, &id)?;
    let turns = hosted
        .journal
        .newest_turns(&hosted.id, limit.min(MOST_TURNS))
        .await?;
    Ok(Json(TurnList {
        turns: turns.into_iter().map(turn).collect(),
    }))
}

/// The session of that id.
pub(super) fn find(api: &Api, id: &str) -> Result<HostedSession, Failure> {
    let known = id.parse().ok().and_then(|id| api.host.session(&id));
    known.ok_or_else(|| Failure::unknown_session(id))
}

/// What takes requests for it at this moment.
pub(super) fn led_now(hosted: &HostedSession) -> Option<LedSession> {
    match &*hosted.standing.borrow() {
        Standing::Led(led) => Some(led.clone()),
        Standing::SettingUp { .. } | Standing::Failed { .. } | Standing::Ended { .. } => None,
    }
}

pub(super) fn summary(api: &Api, hosted: &HostedSession) -> SessionSummary {
    let mut summary = SessionSummary {
        id: hosted.id.clone(),
        agent: hosted.agent.clone(),
        state: SessionState::SettingUp,
        detail: None,
        cwd: hosted.cwd.display().to_string(),
        workspace: None,
        created_at: hosted.created_at,
        running: None,
        queued: 0,
        requests: 0,
        ended_at: None,
    };
    match &*hosted.standing.borrow() {
        Standing::SettingUp { step } => summary.detail = Some(step.clone()),
        Standing::Failed { reason } => {
            summary.state = SessionState::Failed;
            summary.detail = Some(reason.clone());
        }
        Standing::Ended { at } => {
            summary.state = SessionState::Ended;
            summary.ended_at = Some(*at);
        }
        Standing::Led(led) => {
            let state = led.session.state();
            let state = state.borrow();
            let now = api.clock.wall().millis();
            summary.workspace = Some(led.workspace.display().to_string());
            summary.queued = state.queued;
            summary.requests = state.asked.len();
            summary.running = state.running.map(|(turn_id, since)| RunningTurn {
                turn_id,
                since,
                age_ms: now.saturating_sub(since.millis()),
                doing: state
                    .doing
                    .as_ref()
                    .map(|(doing, since)| agent_doing(doing, *since, now)),
            });
            summary.state = match (&summary.running, state.stopped) {
                (_, true) => SessionState::Stopped,
                (Some(_), false) => SessionState::Running,
                (None, false) => SessionState::Idle,
            };
        }
    }
    summary
}

fn agent_doing(doing: &Doing, since: Timestamp, now: u64) -> AgentDoing {
    AgentDoing {
        state: doing.word().to_owned(),
        tool: match doing {
            Doing::Tool(name) => Some(name.clone()),
            _ => None,
        },
        since,
        age_ms: now.saturating_sub(since.millis()),
    }
}

pub(super) fn turn(turn: TurnSummary) -> TurnStatus {
    TurnStatus {
        turn_id: turn.id,
        state: match turn.state {
            TurnState::Queued => TurnPhase::Queued,
            TurnState::Running | TurnState::Cancelling => TurnPhase::Running,
            TurnState::Ended => TurnPhase::Ended,
        },
        outcome: turn.outcome,
        attempts: turn.attempt,
        prompt: turn.prompt,
        prompt_cut: turn.is_prompt_cut,
        prompt_id: turn.prompt_id,
        created_at: turn.created_at,
        ended_at: turn.ended_at,
        first_seq: turn.first_seq.map(crate::ids::Seq::get),
    }
}

pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connecting",
        Phase::Live => "live",
        Phase::Backoff => "backoff",
        Phase::Fenced => "fenced",
        Phase::Rejected => "rejected",
        Phase::Closed => "closed",
    }
}
