//! What a live CLI has said of itself, for protocols in which it says so only when a conversation is
//! opened. Every turn is told it, so that whoever sees one turn alone knows which model it is.

use serde::{Deserialize, Serialize};

use super::{Setting, Told};
use crate::event::Event;

/// The model and the folder of a CLI, by its own word. In every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::agent) struct Introduction {
    model: Option<String>,
    cwd: Option<String>,
    /// It was told, and no turn has begun since: the next one has it.
    is_new: bool,
}

impl Introduction {
    /// What the CLI said when the conversation was opened.
    pub(in crate::agent) fn new(model: Option<String>, cwd: Option<String>) -> Self {
        Self {
            model,
            cwd,
            is_new: false,
        }
    }

    /// Tells it; `id` is the CLI's own session id.
    pub(in crate::agent) fn tell(&mut self, id: &str, out: &mut Vec<Told>) {
        self.is_new = true;
        out.push(Told::Event(Event::Session {
            id: id.to_owned(),
            model: self.model.clone(),
            cwd: self.cwd.clone(),
            tools: None,
            at_work: false,
        }));
    }

    /// A turn begins: it is told, unless it just was.
    pub(in crate::agent) fn turn_begins(&mut self, id: &str, out: &mut Vec<Told>) {
        if !self.is_new {
            self.tell(id, out);
        }
        self.is_new = false;
    }

    /// The CLI's word on a change: with another model it is told anew.
    pub(in crate::agent) fn settled(&mut self, setting: &Setting, refused: Option<&String>) {
        if let (Setting::Model(model), None) = (setting, refused)
            && self.model.as_ref() != Some(model)
        {
            self.model = Some(model.clone());
            self.is_new = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The models that turns are told, where the changes are made before each.
    fn told(changes: &[&[(&str, bool)]]) -> Vec<Vec<String>> {
        let mut introduction = Introduction::new(Some("a".to_owned()), None);
        let mut out = Vec::new();
        introduction.tell("s", &mut out);
        let mut turns = Vec::new();
        for changes in changes {
            for (model, is_refused) in *changes {
                let refused = is_refused.then(|| "no".to_owned());
                introduction.settled(&Setting::Model((*model).to_owned()), refused.as_ref());
            }
            introduction.turn_begins("s", &mut out);
            let models = out.drain(..).filter_map(|told| match told {
                Told::Event(Event::Session { model, .. }) => model,
                _ => None,
            });
            turns.push(models.collect());
        }
        turns
    }

    #[test]
    fn each_turn_is_told_the_model_that_counts_for_it() {
        assert_eq!(told(&[&[], &[], &[]]), [["a"], ["a"], ["a"]]);
        assert_eq!(told(&[&[("a", false)], &[("b", true)]]), [["a"], ["a"]]);
        let changed = told(&[&[("b", false)], &[("c", false), ("d", true)], &[]]);
        assert_eq!(changed[0], ["a", "b"], "what was opened, and the change");
        assert_eq!(changed[1..], [["c"], ["c"]]);
    }
}
