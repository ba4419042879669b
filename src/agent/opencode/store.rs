//! OpenCode's own record of a conversation: `opencode.db` in its data folder (1.18.33).
//!
//! A message is a row with JSON in it. An answer that ended has `time.completed` and `finish`, one
//! that failed has `error`; one that the process died over has neither.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::record::ErrorRecord;
use super::verdict::Failed;
use crate::agent::json::Text;
use crate::agent::{Homes, Store, Stored};

pub(super) const STORE: Store = Store {
    file,
    last_message: "SELECT data FROM message WHERE session_id = ?1
        ORDER BY time_created DESC, id DESC LIMIT 1",
    read,
};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(default)]
    time: Time,
    #[serde(borrow)]
    finish: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// It takes the conversation's place, and is no answer.
    #[serde(default)]
    summary: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct Time {
    completed: Option<f64>,
}

/// Within the data folder, unless `OPENCODE_DB` says otherwise.
fn file(homes: &Homes<'_>) -> Option<PathBuf> {
    let data = homes.folder("XDG_DATA_HOME", ".local/share");
    match (homes.variable)("OPENCODE_DB") {
        Some(name) if name == ":memory:" => None,
        Some(name) if !name.is_empty() => Some(data.join("opencode").join(name)),
        _ => Some(data.join("opencode/opencode.db")),
    }
}

fn read(text: &str) -> Stored {
    let Ok(message) = serde_json::from_str::<Message<'_>>(text) else {
        return Stored::Unknown;
    };
    if let Some(error) = message.error {
        return match serde_json::from_str::<ErrorRecord<'_>>(error.get()) {
            Ok(error) => Stored::Failed(Failed::new(&error).error().clone()),
            Err(_) => Stored::Unknown,
        };
    }
    match &*message.role {
        "assistant" if message.summary.is_some_and(|is| is == true) => Stored::Unknown,
        "assistant" if message.time.completed.is_none() => Stored::Unfinished,
        "assistant" => match message.finish.as_deref() {
            Some("stop") => Stored::Completed,
            Some(_) => Stored::Unfinished,
            None => Stored::Unknown,
        },
        "user" => Stored::Unfinished,
        _ => Stored::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::*;
    use crate::event::ErrorClass;

    // The rows that 1.18.33 wrote for an answer, an answer that a signal ended, a wrong key.
    const ANSWERED: &str = r#"{"parentID":"msg_1fc856de2001jA8lAooLik3nd9","role":"assistant","mode":"build","agent":"build","path":{"cwd":"/workspace/repo","root":"/"},"cost":0,"tokens":{"total":0,"input":0,"output":0,"reasoning":0,"cache":{"write":0,"read":0}},"modelID":"scripted","providerID":"scripted","time":{"created":1795237965757,"completed":1795237966125},"finish":"stop"}"#;
    const ENDED: &str = r#"{"parentID":"msg_1fc8598d7001EZ8zfZ1nKKYDNi","role":"assistant","mode":"build","agent":"build","cost":0,"tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}},"modelID":"scripted","providerID":"scripted","time":{"created":1795237976997}}"#;
    const WRONG_KEY: &str = r#"{"parentID":"msg_1fc858e5b001MVJZ5HifIZj3B6","role":"assistant","mode":"build","agent":"build","time":{"created":1795237974411,"completed":1795237974896},"error":{"name":"APIError","data":{"message":"invalid api key","statusCode":401,"isRetryable":false}}}"#;

    #[test]
    fn each_kind_of_last_message_is_told_apart() {
        assert_eq!(read(ANSWERED), Stored::Completed);
        assert_eq!(read(ENDED), Stored::Unfinished);
        assert_eq!(
            read(&ANSWERED.replace(r#""stop""#, r#""tool-calls""#)),
            Stored::Unfinished
        );
        let Stored::Failed(error) = read(WRONG_KEY) else {
            panic!("an error");
        };
        assert_eq!(
            (error.class, error.message.as_str()),
            (ErrorClass::Auth, "invalid api key")
        );
        let asked = r#"{"role":"user","time":{"created":1}}"#;
        assert_eq!(read(asked), Stored::Unfinished);
        let summary = ANSWERED.replace(r#""mode""#, r#""summary":true,"mode""#);
        for unknown in ["", "[]", r#"{"role":"other"}"#, &summary] {
            assert_eq!(read(unknown), Stored::Unknown, "{unknown}");
        }
    }

    #[test]
    fn the_file_is_where_the_environment_says() {
        let file = |name: &'static str, value: &'static str| {
            let variable =
                move |asked: &str| (asked == name && !value.is_empty()).then(|| OsStr::new(value));
            file(&Homes {
                home: Path::new("/home/agent"),
                variable: &variable,
            })
        };
        let path = |path: &str| Some(PathBuf::from(path));
        let default = path("/home/agent/.local/share/opencode/opencode.db");
        assert_eq!(file("OPENCODE_DB", ""), default);
        assert_eq!(
            file("XDG_DATA_HOME", "/data"),
            path("/data/opencode/opencode.db")
        );
        assert_eq!(file("OPENCODE_DB", "/elsewhere.db"), path("/elsewhere.db"));
        assert_eq!(file("OPENCODE_DB", ":memory:"), None);
    }
}
