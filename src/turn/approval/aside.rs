//! Requests that are not the agent's own: somebody else in the session needs its people's consent.
//!
//! They wait beside the agent's and are answered by the same people in the same ways; the session's
//! driver shows them among its requests. They are not durable: who asks dies with the daemon.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{Answered, Answerer, Waiting};
use crate::agent::live::Answer;

/// What people are to consent to, in the words of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    /// Its first line.
    pub title: String,
    /// What it is about.
    pub message: String,
    /// What the agent is told when they refuse.
    pub deny_reason: Option<String>,
}

/// Those that wait; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Asides(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: watch::Sender<Vec<Waiting>>,
    /// Who asked, by the request's id.
    askers: Mutex<Vec<(String, oneshot::Sender<Answered>)>>,
}

/// Takes a request back when its asker is gone.
struct Asking<'a>(&'a Asides, String);

impl Asides {
    /// Waits for the first answer, within `limit`; none where nobody gave one.
    pub async fn ask(&self, waiting: Waiting, limit: Duration) -> Option<Answered> {
        let (asker, answered) = oneshot::channel();
        let id = waiting.asked.request_id.clone();
        self.askers().push((id.clone(), asker));
        self.0.waiting.send_modify(|all| all.push(waiting));
        let _until_answered = Asking(self, id);
        tokio::time::timeout(limit, answered).await.ok()?.ok()
    }

    /// Gives an answer; it comes back where it is to none of these.
    pub fn answer(&self, answered: Answered) -> Result<(), Answered> {
        let asker = self.take_back(&answered.request_id);
        match asker {
            Some(asker) => asker.send(answered),
            None => Err(answered),
        }
    }

    /// Denies all that wait: what they are about is over.
    pub fn deny_all(&self, message: &str) {
        let waiting = self.0.waiting.borrow().clone();
        for request_id in waiting.into_iter().map(|waiting| waiting.asked.request_id) {
            let answer = Answer::Deny {
                message: message.to_owned(),
            };
            let by = Answerer::Runner;
            // One that was answered meanwhile needs no other.
            drop(self.answer(Answered {
                request_id,
                answer,
                by,
            }));
        }
    }

    /// Those that wait, the oldest first, and news of them.
    pub fn waiting(&self) -> watch::Receiver<Vec<Waiting>> {
        self.0.waiting.subscribe()
    }

    fn take_back(&self, id: &str) -> Option<oneshot::Sender<Answered>> {
        let asker = {
            let mut askers = self.askers();
            let at = askers.iter().position(|(own, _)| own == id)?;
            askers.remove(at).1
        };
        self.0
            .waiting
            .send_modify(|all| all.retain(|waiting| waiting.asked.request_id != id));
        Some(asker)
    }

    fn askers(&self) -> std::sync::MutexGuard<'_, Vec<(String, oneshot::Sender<Answered>)>> {
        self.0.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        drop(self.0.take_back(&self.1));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::live::Asked;
    use crate::clock::Timestamp;

    fn request(id: &str) -> Waiting {
        Waiting {
            asked: Asked {
                request_id: id.to_owned(),
                call_id: None,
                tool: "t".to_owned(),
                input: json!({}),
            },
            since: Timestamp::from_millis(1),
            until: None,
            matters: Vec::new(),
        }
    }

    fn allow(id: &str) -> Answered {
        Answered {
            request_id: id.to_owned(),
            answer: Answer::Allow { input: None },
            by: Answerer::Local,
        }
    }

    #[tokio::test]
    async fn the_first_answer_counts_and_what_nobody_answers_is_taken_back() {
        let asides = Asides::default();
        let seen = asides.waiting();
        let answering = async {
            assert_eq!(seen.borrow().len(), 1);
            assert!(asides.answer(allow("other")).is_err());
            assert!(asides.answer(allow("a")).is_ok());
            assert!(asides.answer(allow("a")).is_err(), "once");
            assert!(seen.borrow().is_empty());
        };
        let limit = Duration::from_secs(1);
        let (answered, ()) = tokio::join!(biased; asides.ask(request("a"), limit), answering);
        assert_eq!(answered, Some(allow("a")));
        assert_eq!(asides.ask(request("b"), Duration::ZERO).await, None);
        assert!(seen.borrow().is_empty());
        let over = async { asides.deny_all("it is over") };
        let (answered, ()) = tokio::join!(biased; asides.ask(request("c"), limit), over);
        assert_eq!(answered.unwrap().by, Answerer::Runner);
    }
}
