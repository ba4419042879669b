//! What changes something: sessions made, prompts accepted, turns cancelled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

use super::failure::Failure;
use super::host::{HostedSession, LedSession, NewSession, Standing};
use super::routes::{Query, WITH_IMAGES, body, body_up_to};
use super::server::Api;
use super::status::{find, led_now, summary, turn};
use super::wire::{
    CancelAnswer, CancelRequest, CreateAnswer, CreateRequest, PromptAnswer, PromptRequest,
    SessionSummary,
};
use crate::config::{EnvMap, InvalidAuthor};
use crate::image::{self, Image};
use crate::journal::TurnState;
use crate::session::Prompt;

/// How long a request waits for a session that is being set up. Its client may ask again.
const SETUP_PATIENCE: Duration = Duration::from_secs(10);

/// The longest id of a prompt, in bytes.
const PROMPT_ID: usize = 256;

/// Turns that an answer to a cancel shows.
const CANCELLED: u32 = 1000;

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    request: Body,
) -> Result<(StatusCode, Json<CreateAnswer>), Failure> {
    let request: CreateRequest = needed(body_up_to(request, WITH_IMAGES).await?)?;
    let cwd = PathBuf::from(request.cwd);
    if !cwd.is_absolute() {
        return Err(Failure::invalid("`cwd` must be an absolute path"));
    }
    if request.task.trim().is_empty() {
        return Err(Failure::invalid("the task is empty: say what to do"));
    }
    let new = NewSession {
        settings: request.settings,
        env: request.env.into_iter().collect::<EnvMap>(),
        cwd,
        task: request.task,
        images: images(&request.images)?,
    };
    let created = api.host.create(new).await?;
    let answer = CreateAnswer {
        session_id: created.session,
        turn_id: created.turn,
        pid: api.host.daemon().pid,
        output_file: created.output_file.display().to_string(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(super) async fn prompt(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Body,
) -> Result<(StatusCode, Json<PromptAnswer>), Failure> {
    let hosted = find(&api, &id)?;
    let request: PromptRequest = needed(body_up_to(request, WITH_IMAGES).await?)?;
    let prompt_id = request.prompt_id;
    if prompt_id
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.len() > PROMPT_ID)
    {
        let message = format!("`prompt_id` must have 1 to {PROMPT_ID} bytes");
        return Err(Failure::invalid(message));
    }
    if request.text.trim().is_empty() {
        return Err(Failure::invalid("the prompt is empty: say what to do"));
    }
    let author = request.author.as_deref().map(str::parse).transpose();
    let author =
        author.map_err(|error: InvalidAuthor| Failure::invalid(format!("`author`: {error}")))?;
    let images = images(&request.images)?;
    let led = led(&hosted).await?;
    let prompt = Prompt {
        text: request.text,
        author,
        images,
        command_id: prompt_id,
        is_task: false,
    };
    let answer = PromptAnswer {
        session_id: hosted.id,
        turn_id: led.session.prompt(prompt).await?,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

fn images(given: &[String]) -> Result<Vec<Image>, Failure> {
    let mut images = Vec::new();
    for (number, given) in given.iter().enumerate() {
        let image = Image::from_base64(given);
        let refused = |error| Failure::invalid(format!("`images[{number}]`: {error}"));
        images.push(image.map_err(refused)?);
    }
    image::all(images).map_err(|error| Failure::invalid(format!("`images`: {error}")))
}

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Body,
) -> Result<Json<CancelAnswer>, Failure> {
    let hosted = find(&api, &id)?;
    let request: CancelRequest = body(request).await?.unwrap_or_default();
    let led = led(&hosted).await?;
    let turns = hosted.journal.newest_turns(&hosted.id, CANCELLED).await?;
    let open = turns
        .into_iter()
        .filter(|turn| turn.state != TurnState::Ended);
    let open: Vec<_> = open.map(|turn| turn.id).collect();
    if request.at_once {
        led.session.cancel(true).await;
    }
    led.session.abort().await?;
    let mut cancelled = Vec::new();
    for id in open {
        cancelled.extend(hosted.journal.turn(&hosted.id, id).await?.map(turn));
    }
    Ok(Json(CancelAnswer { turns: cancelled }))
}

/// Ends a session for good; answered when nothing of it runs any more.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<SessionSummary>, Failure> {
    let query = Query::read(&uri, &["at_once"])?;
    let at_once = query.switch("at_once")?.unwrap_or(false);
    let hosted = find(&api, &id)?;
    if let Some(led) = led_now(&hosted).filter(|_| at_once) {
        led.session.cancel(true).await;
    }
    match api.host.end(&hosted.id).await {
        Some(ended) => Ok(Json(summary(&api, &ended?))),
        None => Err(Failure::unknown_session(&id)),
    }
}

pub(super) fn needed<T>(body: Option<T>) -> Result<T, Failure> {
    body.ok_or_else(|| Failure::invalid("a JSON body is needed"))
}

/// What takes requests for the session; waits a while where it is being set up.
pub(super) async fn led(hosted: &HostedSession) -> Result<LedSession, Failure> {
    let mut standing = hosted.standing.clone();
    let ready = standing.wait_for(|standing| !matches!(standing, Standing::SettingUp { .. }));
    let reached = tokio::time::timeout(SETUP_PATIENCE, ready).await;
    let now = match reached {
        Ok(Ok(standing)) => standing.clone(),
        // Its last state, whether more would come or not.
        Ok(Err(_)) | Err(_) => hosted.standing.borrow().clone(),
    };
    match now {
        Standing::Led(led) => Ok(led),
        Standing::SettingUp { step } => Err(Failure::later(
            "setting_up",
            format!("session {} is being set up: {step}", hosted.id),
        )),
        Standing::Failed { reason } => Err(Failure::new(
            StatusCode::CONFLICT,
            "session_failed",
            format!("session {} cannot be led: {reason}", hosted.id),
            "mend that and restart the daemon, or start another session",
        )),
        Standing::Ended { .. } => Err(Failure::new(
            StatusCode::CONFLICT,
            "session_ended",
            format!("session {} was ended for good", hosted.id),
            "start another session; this one's events can still be read",
        )),
    }
}
