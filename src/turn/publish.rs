//! What the agent has committed, pushed when the turn ends; said in a notice just before its `end`.
//!
//! Never the turn's failure: what cannot be pushed is kept as a bundle, and the next turn's push
//! brings it along. A turn whose end is tried again, after a death in between, finds it done, and
//! says what it was.

use crate::event::{Event, NoticeLevel};
use crate::ids::TurnId;
use crate::turn::context::TurnContext;
use crate::workspace::{Brought, Credentials, PushRequest, Pushed, Uploaded, push};

/// What is pushed after each turn.
#[derive(Debug, Clone)]
pub struct Publishing {
    /// A repository each.
    pub requests: Vec<PushRequest>,
    /// Where tokens come from.
    pub credentials: Credentials,
}

/// Pushes, and says what became of it.
pub(super) async fn of_turn(context: &TurnContext, turn: TurnId) -> Vec<Event> {
    let mut told = Vec::new();
    let Some(publishing) = &context.publishing else {
        return told;
    };
    for request in &publishing.requests {
        let pushed = Box::pin(push(request, &turn.to_string(), &publishing.credentials)).await;
        let without_content = without_content(request, &pushed);
        let words = words(request, pushed).into_iter().chain(without_content);
        told.extend(words.map(|(level, code, text)| Event::Notice {
            level,
            code: code.to_owned(),
            text: masked(context, &text),
        }));
    }
    told
}

/// The turn's end is stored, with what was said of its pushes: nobody will try them again for it.
pub(super) fn settled(context: &TurnContext) {
    for request in context.publishing.iter().flat_map(|all| &all.requests) {
        request.settle();
    }
}

/// A server's words may repeat what it was sent.
fn masked(context: &TurnContext, text: &str) -> String {
    String::from_utf8_lossy(&context.redactor.text(text.as_bytes())).into_owned()
}

type Told = (NoticeLevel, &'static str, String);

/// What only git-lfs itself can bring along: nobody else can check these commits out until then.
fn without_content(request: &PushRequest, pushed: &Pushed) -> Option<Told> {
    let count = match pushed {
        Pushed::Done {
            contents: Brought::None(count),
            ..
        } => *count,
        _ => 0,
    };
    let PushRequest { branch, url, .. } = request;
    let what = if count == 1 { "file" } else { "files" };
    let text = format!(
        "the content of {count} {what} of Git LFS was not uploaded with {branch} of {url}: its server \
         says that it has no git-lfs-authenticate; run git lfs push origin HEAD in {} where git-lfs \
         knows another way, and set git.push = \"agent\" for the next time",
        request.workspace.display()
    );
    (count > 0).then_some((NoticeLevel::Warning, "push_without_lfs", text))
}

fn brought(contents: Brought) -> String {
    match contents {
        Brought::All(Uploaded { files: 0, .. }) | Brought::None(_) => String::new(),
        Brought::All(Uploaded { files, bytes }) => {
            let what = if files == 1 { "file" } else { "files" };
            let kib = bytes.div_ceil(1024);
            format!(" with {files} {what} of Git LFS ({kib} KiB)")
        }
    }
}

fn words(request: &PushRequest, pushed: Pushed) -> Option<Told> {
    let PushRequest { branch, url, .. } = request;
    Some(match pushed {
        Pushed::Nothing => return None,
        Pushed::Done {
            commits,
            head,
            contents,
        } => {
            let what = if commits == 1 { "commit" } else { "commits" };
            let head = head.get(..10).unwrap_or(&head);
            let with = brought(contents);
            let text = format!("pushed {commits} {what}{with} to {branch} of {url}, now at {head}");
            (NoticeLevel::Info, "pushed", text)
        }
        Pushed::Diverged { rescue } => {
            let text = format!(
                "{branch} of {url} has commits that the workspace does not have, and is left as it \
                 is: fetch it in the workspace and bring the two together; what was not pushed is \
                 in {} (git fetch {0} {branch})",
                rescue.display()
            );
            (NoticeLevel::Warning, "push_diverged", text)
        }
        Pushed::Failed { why, rescue } => {
            let kept = rescue.map_or_else(String::new, |rescue| {
                format!(
                    "; what was not pushed is in {} (git fetch {0} {branch})",
                    rescue.display()
                )
            });
            let text = format!("cannot push to {branch} of {url}: {why}{kept}");
            (NoticeLevel::Warning, "push_failed", text)
        }
    })
}
