//! Commands that were answered lately, so that one that is sent again is not done again.
//!
//! Only commands whose id is given once in the world; of those that change something. Prompts are
//! known by their ids in the journal as well, for ever.

use std::collections::VecDeque;

use super::Answer;
use crate::hub::link::Reply;

/// As many as a client may have sent before a connection was lost.
const REMEMBERED: usize = 64;
/// A longer answer is one to a question, which is answered anew.
const MAX_ANSWER: usize = 64 * 1024;

/// What was asked, and the answer once there is one.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(String, Option<Answer>)>);

impl Recent {
    /// The answer to a command that came before; none: it is a new one.
    pub(super) fn begin(&mut self, reply: &Reply) -> Option<Answer> {
        let key = key(reply)?;
        if let Some((_, answer)) = self.0.iter().find(|(known, _)| *known == key) {
            let busy = || Err("the same command is being done; its answer follows".to_owned());
            return Some(answer.clone().unwrap_or_else(busy));
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((key, None));
        None
    }

    /// It is done.
    pub(super) fn done(&mut self, reply: &Reply, answer: &Answer) {
        let Some(key) = key(reply) else { return };
        let size = |answer: &Answer| match answer {
            Ok(Some(data)) => data.to_string().len(),
            _ => 0,
        };
        if let Some(at) = self.0.iter().position(|(known, _)| *known == key) {
            if answer.is_err() || size(answer) > MAX_ANSWER {
                // What failed may be tried again.
                self.0.remove(at);
            } else if let Some((_, known)) = self.0.get_mut(at) {
                *known = Some(answer.clone());
            }
        }
    }
}

fn key(reply: &Reply) -> Option<String> {
    let id = reply.unique_id()?;
    let asks = reply.name().starts_with("get_");
    (!asks).then(|| format!("{} {id}", reply.name()))
}
