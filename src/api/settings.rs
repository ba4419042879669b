//! What a session's agent works with, and other settings while it runs.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};

use super::failure::Failure;
use super::requests::{led, needed};
use super::routes::body;
use super::server::Api;
use super::status::find;
use super::wire::{CountsFrom, SettingsAnswer, SettingsInForce, SettingsRequest};
use crate::agent::live::Since;
use crate::session::InForce;
use crate::turn::choices::Choice;

/// The longest name of a model or an effort, in bytes.
const NAME: usize = 256;

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<SettingsInForce>, Failure> {
    let hosted = find(&api, &id)?;
    let led = led(&hosted).await?;
    let in_force = led.session.state().borrow().in_force.clone();
    Ok(Json(in_force.into()))
}

/// One after the other; what is refused leaves those before it changed, and says so.
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Body,
) -> Result<Json<SettingsAnswer>, Failure> {
    let hosted = find(&api, &id)?;
    let request: SettingsRequest = needed(body(request).await?)?;
    let choices = choices(request)?;
    let led = led(&hosted).await?;
    let mut counts_from = Vec::new();
    for choice in choices {
        let since = led.session.choose(choice).await?;
        counts_from.push(match since {
            Since::Now => CountsFrom::Now,
            Since::NextTurn | Since::NextProcess => CountsFrom::NextTurn,
        });
    }
    let in_force = led.session.state().borrow().in_force.clone();
    // The latest of them is when all that was asked for counts.
    let counts_from = counts_from.into_iter().max().unwrap_or(CountsFrom::Now);
    Ok(Json(SettingsAnswer {
        settings: in_force.into(),
        counts_from,
    }))
}

fn choices(request: SettingsRequest) -> Result<Vec<Choice>, Failure> {
    let named = |what: &str, name: Option<String>| match name {
        Some(name) if name.trim().is_empty() || name.len() > NAME => Err(Failure::invalid(
            format!("`{what}` must have 1 to {NAME} bytes"),
        )),
        name => Ok(name),
    };
    let choices = [
        named("model", request.model)?.map(Choice::Model),
        named("effort", request.effort)?.map(Choice::Effort),
        request.approve.map(Choice::Approve),
    ];
    let choices: Vec<_> = choices.into_iter().flatten().collect();
    if choices.is_empty() {
        return Err(Failure::invalid(
            "nothing is to be changed: give `model`, `effort` or `approve`",
        ));
    }
    Ok(choices)
}

impl From<InForce> for SettingsInForce {
    fn from(in_force: InForce) -> Self {
        Self {
            model: in_force.model,
            effort: in_force.effort,
            approve: in_force.approve,
        }
    }
}
