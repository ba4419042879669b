//! How Gemini CLI 0.61.0 is started in live form: `gemini --acp`.

use crate::agent::args::Args;
use crate::agent::gemini::{chat, launch};
use crate::agent::live::{LivePlan, LiveSpec};
use crate::agent::{AgentSession, HomeRename, Homes, LaunchError, TurnSpec};

/// The plan for a conversation.
pub(super) fn plan(spec: &TurnSpec, asks: bool) -> Result<LivePlan, LaunchError> {
    launch::check_extra(&spec.extra_args)?;
    let mut args = Args::default();
    args.flag("--acp");
    let policy = if asks {
        args.value("--approval-mode", "default");
        launch::asking(&spec.allowed_tools)
    } else {
        args.value("--approval-mode", "yolo");
        String::new()
    };
    let resume = match &spec.agent_session {
        AgentSession::New(_) => None,
        AgentSession::Resume(id) => Some(id.clone()),
    };
    let mut launch = launch::with_home(spec, args, &policy)?;
    launch.home_rename = resume.as_deref().and_then(|id| safe_to_load(spec, id));
    Ok(LivePlan {
        launch,
        spec: LiveSpec {
            cwd: Some(spec.workspace.to_string_lossy().into_owned()),
            model: spec.model.clone(),
            effort: spec.effort.clone(),
            resume,
            asks,
            ..LiveSpec::default()
        },
    })
}

/// A conversation's file is named after the minute in which it was begun. Before the CLI loads a
/// conversation it begins a file for a new one of that id, named after the minute that it is: in
/// the same minute it thus empties what it is to load. No file is of that name's minute again.
fn safe_to_load(spec: &TurnSpec, id: &str) -> Option<HomeRename> {
    let homes = Homes {
        home: &spec.home,
        variable: &|_| None,
    };
    let file = chat::file(&homes, id)?;
    let name = format!("session-1970-01-01T00-00{}", file.name_end);
    Some(HomeRename { file, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_waits_where_it_shall_but_those_that_need_no_consent() {
        let spec = TurnSpec {
            allowed_tools: vec!["read_file".to_owned()],
            model: Some("gemini-3.8-flash".to_owned()),
            agent_session: AgentSession::Resume("an-id".to_owned()),
            ..TurnSpec::plain()
        };
        let held = plan(&spec, true).unwrap();
        let args: Vec<_> = held
            .launch
            .args
            .iter()
            .map(|a| a.to_str().unwrap())
            .collect();
        assert_eq!(
            args.get(..3),
            Some(
                [
                    "--acp",
                    "--approval-mode=default",
                    "--model=gemini-3.8-flash"
                ]
                .as_slice()
            )
        );
        assert!(args.iter().any(|flag| flag.starts_with("--policy=")));
        let (_, policy) = held.launch.home_files.last().unwrap();
        assert_eq!(
            std::str::from_utf8(policy).unwrap(),
            "[[rule]]\ntoolName = \"*\"\ndecision = \"ask_user\"\npriority = 99\n\
             [[rule]]\ntoolName = \"read_file\"\ndecision = \"allow\"\npriority = 100\n"
        );
        assert_eq!(held.spec.resume.as_deref(), Some("an-id"));
        let free = plan(&spec, false).unwrap();
        assert!(free.launch.args.contains(&"--approval-mode=yolo".into()));
    }
}
