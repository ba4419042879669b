//! The one list of events that every agent is held to, and what an agent's gaps make of it.
//!
//! In `expected.txt` a part begins with `== name`. `⟨gap: text⟩` stands for agents that do not have
//! the gap, `⟨!gap: text⟩` for those that do; a line of which nothing is left falls away.

use std::collections::{BTreeMap, BTreeSet};

use crate::gaps;

const TEXT: &str = include_str!("expected.txt");

/// A part's lines for one agent.
pub(crate) fn lines(part: &str, agent: &str) -> Vec<String> {
    let parts = parts();
    let lines = parts.get(part);
    let lines = lines.unwrap_or_else(|| panic!("expected.txt has no part {part}"));
    let has = |gap: &str| gaps::has(agent, gap);
    lines
        .iter()
        .filter_map(|line| resolve(line, &has))
        .collect()
}

/// Whether a gap of an agent makes its lists other than they would be without it.
pub(crate) fn differs(agent: &str, gap: &str) -> bool {
    let with = |id: &str| gaps::has(agent, id);
    let without = |id: &str| id != gap && gaps::has(agent, id);
    let mut lines = parts().into_values().flatten();
    lines.any(|line| resolve(line, &with) != resolve(line, &without))
}

/// The gaps that the lists know.
pub(crate) fn gaps() -> BTreeSet<String> {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    let marks = lines.flat_map(|line| line.split('⟨').skip(1));
    let ids = marks.map(|mark| mark.split_once(':').expect("a gap has an id").0);
    ids.map(|id| id.trim_start_matches('!').to_owned())
        .collect()
}

/// The names of the parts, in order.
pub(crate) fn names() -> Vec<&'static str> {
    TEXT.lines()
        .filter_map(|line| line.strip_prefix("== "))
        .collect()
}

fn parts() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut name = "";
    for line in TEXT.lines() {
        if let Some(next) = line.strip_prefix("== ") {
            name = next;
            assert!(parts.insert(name, Vec::new()).is_none(), "two parts {name}");
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            parts.get_mut(name).expect("a line of a part").push(line);
        }
    }
    parts
}

/// A line for an agent with those gaps; none where nothing is left of it. Marks within marks are
/// resolved from the inside.
fn resolve(line: &str, has: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut line = line.to_owned();
    while let Some((before, after)) = line.split_once('⟩') {
        let (before, mark) = before.rsplit_once('⟨').expect("a mark is opened");
        let (gap, text) = mark.split_once(": ").expect("a mark has a gap and a text");
        let wanted = match gap.strip_prefix('!') {
            Some(gap) => has(gap),
            None => !has(gap),
        };
        let text = if wanted { text } else { "" };
        line = format!("{before}{text}{after}");
    }
    let line = line.trim_end();
    (!line.is_empty()).then(|| line.to_owned())
}

#[test]
fn a_line_says_what_a_gap_leaves_of_it() {
    let with = |gaps: &'static [&str]| move |gap: &str| gaps.contains(&gap);
    let line = "done shell⟨code:  exit=0⟩ \"a\"";
    assert_eq!(
        resolve(line, &with(&[])).unwrap(),
        "done shell exit=0 \"a\""
    );
    assert_eq!(resolve(line, &with(&["code"])).unwrap(), "done shell \"a\"");
    let line = "⟨!code: only with it⟩";
    assert_eq!(resolve(line, &with(&["code"])).unwrap(), "only with it");
    assert_eq!(resolve(line, &with(&[])), None);
}
