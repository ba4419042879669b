//! The settings of one turn: the user's own, and over them what was asked for.

use serde_json::{Map, Value, json};

use crate::agent::{LaunchError, TurnSpec};

/// The file with the user's system prompt. It is read as one more global context file, which the
/// CLI puts behind its own system prompt; `GEMINI_SYSTEM_MD` would replace that.
pub(super) const SYSTEM_PROMPT: &str = "agent-runner-system.md";

const EFFORTS: &[(&str, &str, u32)] = &[
    ("minimal", "MINIMAL", 512),
    ("low", "LOW", 1024),
    ("medium", "MEDIUM", 8192),
    ("high", "HIGH", 24576),
];
const EFFORT_NAMES: &str = "minimal, low, medium, high";

/// The settings file.
pub(super) fn of(spec: &TurnSpec) -> Result<Vec<u8>, LaunchError> {
    let mut settings = users(spec)?;
    // the runner installs versions, and no session is worth a report to the vendor
    set(
        &mut settings,
        &["general", "enableAutoUpdate"],
        false.into(),
    );
    set(
        &mut settings,
        &["general", "enableAutoUpdateNotification"],
        false.into(),
    );
    set(
        &mut settings,
        &["privacy", "usageStatisticsEnabled"],
        false.into(),
    );
    // at each start it would delete conversations of the project that nobody has said anything in
    // yet, those of other running processes too, and all files of a conversation one of whose
    // files is such: each that was ever loaded
    set(
        &mut settings,
        &["general", "sessionRetention", "enabled"],
        false.into(),
    );
    if let Some(method) = login(spec) {
        let path = ["security", "auth", "selectedType"];
        if at(&mut settings, &path).is_none_or(|slot| slot.is_null()) {
            set(&mut settings, &path, method.into());
        }
    }
    if let Some(effort) = &spec.effort {
        add_effort(&mut settings, effort, spec.model.as_deref())?;
    }
    if spec.system_prompt.is_some() {
        add_context_file(&mut settings);
    }
    for (name, server) in servers(spec)? {
        set(&mut settings, &["mcpServers", &name], server);
    }
    // an object with string keys: this cannot fail
    Ok(serde_json::to_vec_pretty(&Value::Object(settings)).unwrap_or_default())
}

fn users(spec: &TurnSpec) -> Result<Map<String, Value>, LaunchError> {
    let Some(text) = &spec.settings else {
        return Ok(Map::new());
    };
    serde_json::from_str(text).map_err(|error| LaunchError::Settings {
        file: spec.home.join(".gemini/settings.json"),
        why: format!(
            "cannot be read as plain JSON ({error}); remove comments and trailing commas from it"
        ),
    })
}

/// 0.61.0 takes `GOOGLE_GEMINI_BASE_URL` for a login method that headless runs refuse (exit 41),
/// unless the settings name another one.
fn login(spec: &TurnSpec) -> Option<&'static str> {
    let has = |name: &str| spec.variables.iter().any(|variable| variable == name);
    let other = has("GOOGLE_GENAI_USE_VERTEXAI") || has("GOOGLE_GENAI_USE_GCA");
    (has("GOOGLE_GEMINI_BASE_URL") && !other).then_some("gemini-api-key")
}

/// Gemini 3 thinks by level and 2.5 by budget (the amounts that Google gives to these levels); the
/// CLI's presets say which model is which, and a model that they do not know is one of the newer.
fn add_effort(
    settings: &mut Map<String, Value>,
    effort: &str,
    model: Option<&str>,
) -> Result<(), LaunchError> {
    let known = EFFORTS.iter().find(|(name, ..)| *name == effort);
    let Some((_, level, budget)) = known else {
        return Err(LaunchError::Effort {
            effort: effort.to_owned(),
            known: EFFORT_NAMES,
        });
    };
    let rule = |model: &str, thinking: Value| {
        let config = json!({"generateContentConfig": {"thinkingConfig": thinking}});
        json!({"match": {"model": model}, "modelConfig": config})
    };
    let by_level = json!({"thinkingLevel": level});
    let mut rules = vec![
        rule("chat-base-2.5", json!({"thinkingBudget": budget})),
        rule("chat-base-3", by_level.clone()),
    ];
    if let Some(model) = model.filter(|model| model.starts_with("gemini-3")) {
        rules.push(rule(model, by_level));
    }
    let path = ["modelConfigs", "customOverrides"];
    if let Some(Value::Array(theirs)) = at(settings, &path) {
        rules.splice(0..0, theirs.iter().cloned());
    }
    set(settings, &path, rules.into());
    Ok(())
}

fn add_context_file(settings: &mut Map<String, Value>) {
    let path = ["context", "fileName"];
    let mut names = match at(settings, &path) {
        Some(Value::Array(names)) => names.clone(),
        Some(Value::String(name)) => vec![name.as_str().into()],
        _ => vec!["GEMINI.md".into()],
    };
    names.push(SYSTEM_PROMPT.into());
    set(settings, &path, names.into());
}

/// The servers as the CLI wants them: as Claude Code does, but for the name of the plainest kind.
fn servers(spec: &TurnSpec) -> Result<Map<String, Value>, LaunchError> {
    let Some(text) = &spec.mcp_servers else {
        return Ok(Map::new());
    };
    let wrong = |reason: String| LaunchError::McpServers { reason };
    let mut list: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| wrong(format!("the file is no JSON object: {error}")))?;
    let Some(Value::Object(mut servers)) = list.remove("mcpServers") else {
        return Err(wrong("the file has no object `mcpServers`".to_owned()));
    };
    for (name, server) in &mut servers {
        let Value::Object(fields) = server else {
            return Err(wrong(format!("`mcpServers.{name}` is no object")));
        };
        if fields.get("type").is_some_and(|kind| kind == "stdio") {
            fields.remove("type");
        }
    }
    Ok(servers)
}

/// What stands at that path.
fn at<'a>(settings: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Value> {
    let (last, folders) = path.split_last()?;
    let mut place = settings;
    for folder in folders {
        place = place.get_mut(*folder)?.as_object_mut()?;
    }
    place.get_mut(*last)
}

/// Sets what stands at that path; what is no object on the way to it is replaced by one.
fn set(settings: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [last] => {
            settings.insert((*last).to_owned(), value);
        }
        [folder, rest @ ..] => {
            let inner = settings
                .entry(*folder)
                .or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}
