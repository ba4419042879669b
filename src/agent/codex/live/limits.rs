//! How much of its user's quota is used up, as Codex hears it with the model's answers. With a key
//! of one's own there is none, and it says so each time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::json::typed;
use crate::event::Event;

/// The notification that says it.
pub(super) const UPDATED: &str = "account/rateLimits/updated";

/// From which share of a window on it is nearly used up, in percent.
const NEARLY: i64 = 80;

/// What was told of each window, to know news from repetition.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Limits(BTreeMap<String, (String, Option<u64>)>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    rate_limits: Snapshot,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    primary: Option<Window>,
    secondary: Option<Window>,
    rate_limit_reached_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    used_percent: i64,
    /// In seconds since the epoch.
    resets_at: Option<u64>,
    #[serde(rename = "windowDurationMins")]
    minutes: Option<u64>,
}

impl Limits {
    /// Tells what is new; none where it is not of the known shape.
    pub(super) fn updated(
        &mut self,
        params: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let Updated { rate_limits } = typed(params)?;
        let is_reached = rate_limits.rate_limit_reached_type.is_some();
        let windows = [rate_limits.primary, rate_limits.secondary];
        for window in windows.into_iter().flatten() {
            let name = name(window.minutes);
            let status = match window.used_percent {
                100.. => "rejected",
                _ if is_reached => "rejected",
                NEARLY.. => "allowed_warning",
                _ => "allowed",
            };
            let resets_at = window.resets_at.map(|seconds| seconds.saturating_mul(1000));
            let told = (status.to_owned(), resets_at);
            if self.0.insert(name.clone(), told.clone()).as_ref() != Some(&told) {
                out.push(Event::RateLimit {
                    status: told.0,
                    resets_at,
                    window: Some(name),
                });
            }
        }
        Some("no news of limits")
    }
}

/// A window's name; those that Claude Code has as well are called alike.
fn name(minutes: Option<u64>) -> String {
    match minutes {
        Some(300) => "five_hour".to_owned(),
        Some(10_080) => "seven_day".to_owned(),
        Some(minutes) => format!("{minutes}_minutes"),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(limits: &mut Limits, snapshot: &serde_json::Value) -> Vec<Event> {
        let params = json!({ "rateLimits": snapshot }).to_string();
        let params: &RawValue = serde_json::from_str(&params).unwrap();
        let mut out = Vec::new();
        limits.updated(Some(params), &mut out).unwrap();
        out
    }

    #[test]
    fn each_window_is_told_when_it_has_news() {
        let mut limits = Limits::default();
        let nothing = json!({"primary": null, "secondary": null, "rateLimitReachedType": null});
        assert!(told(&mut limits, &nothing).is_empty());
        let used = |percent: i64| json!({"primary": {"usedPercent": percent, "resetsAt": 5, "windowDurationMins": 300}});
        let event = |status: &str| Event::RateLimit {
            status: status.to_owned(),
            resets_at: Some(5000),
            window: Some("five_hour".to_owned()),
        };
        assert_eq!(told(&mut limits, &used(3)), [event("allowed")]);
        assert!(told(&mut limits, &used(4)).is_empty(), "no news");
        assert_eq!(told(&mut limits, &used(85)), [event("allowed_warning")]);
        assert_eq!(told(&mut limits, &used(100)), [event("rejected")]);
    }
}
