//! Masking of known secrets.
//!
//! A secret of at least [`SHORTEST`] bytes that stands in a line, plain or JSON-escaped (up to
//! three times), base64 (at any of the three shifts, both alphabets) or URL-encoded, becomes `***`
//! before anything parses, stores or cuts that line. It masks what it was told and guesses
//! nothing. For a secret that comes in pieces, over several lines, see [`Redactor::streamed`].
//! A token that is issued later is masked from then on: [`Redactor::learn`] comes before its use.

mod forms;
pub mod settings;

use std::borrow::Cow;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use secrecy::{ExposeSecret as _, SecretString};

/// Shorter values are no secrets: masking them would garble ordinary text.
pub const SHORTEST: usize = 8;

const MASK: &[u8] = b"***";

/// What stands at a cut, so that a secret that the cut went through can be found before it.
const MARKER: &[u8] = "…[+".as_bytes();

/// Where a line was cut before it came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere.
    Nowhere,
    /// Within strings, each cut marked by `…[+N bytes]`.
    Marked,
    /// At its end.
    AtEnd,
}

/// Secrets that were learned and are masked, the newest: an hourly token of ten days. One that is
/// replaced more often has long expired when it goes.
const MOST_LEARNED: usize = 256;

/// Masks a set of secrets. Cheap where nothing is to be masked; never printed.
pub struct Redactor {
    known: RwLock<Known>,
}

struct Known {
    /// From the beginning.
    given: Vec<SecretString>,
    /// Since then, the oldest first.
    learned: Vec<SecretString>,
    matcher: Option<Matcher>,
}

struct Matcher {
    /// Every form, for text that is no JSON.
    text: AhoCorasick,
    /// The forms that can stand in a JSON string, for lines that are JSON.
    json: AhoCorasick,
    /// For secrets that a cut went through.
    forms: Vec<Vec<u8>>,
    /// The longest form's length.
    longest: usize,
}

/// The secrets are too many or too long to be searched for.
#[derive(Debug, thiserror::Error)]
#[error("cannot search for the given secrets ({count} of them): fewer or shorter ones are needed")]
pub struct RedactError {
    count: usize,
    #[source]
    source: aho_corasick::BuildError,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// Masks nothing.
    pub const fn none() -> Self {
        Self {
            known: RwLock::new(Known {
                given: Vec::new(),
                learned: Vec::new(),
                matcher: None,
            }),
        }
    }

    /// Masks `secrets`; those under [`SHORTEST`] bytes are left out.
    pub fn new(secrets: &[SecretString]) -> Result<Self, RedactError> {
        let matcher = Matcher::new(secrets)?;
        let (given, learned) = (secrets.to_vec(), Vec::new());
        let known = RwLock::new(Known {
            given,
            learned,
            matcher,
        });
        Ok(Self { known })
    }

    /// Masks this as well from here on: whoever is given a secret calls it before it is used.
    pub fn learn(&self, secret: &SecretString) -> Result<(), RedactError> {
        let is_it = |known: &SecretString| known.expose_secret() == secret.expose_secret();
        let is_known = |known: &Known| known.given.iter().chain(&known.learned).any(is_it);
        if is_known(&self.known()) {
            return Ok(());
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if is_known(&known) {
            return Ok(());
        }
        known.learned.push(secret.clone());
        let surplus = known.learned.len().saturating_sub(MOST_LEARNED);
        known.learned.drain(..surplus);
        let all: Vec<_> = known.given.iter().chain(&known.learned).cloned().collect();
        known.matcher = Matcher::new(&all)?;
        Ok(())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of output, masked. JSON stays JSON. `scratch` holds the result where it differs.
    pub fn line<'a>(&self, line: &'a [u8], cut: Cut, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let known = self.known();
        let Some(matcher) = &known.matcher else {
            return line;
        };
        let json = line.first() == Some(&b'{');
        scratch.clear();
        let automaton = if json { &matcher.json } else { &matcher.text };
        let mut changed = replace(automaton, line, json, scratch);
        if cut != Cut::Nowhere {
            if !changed {
                scratch.extend_from_slice(line);
            }
            matcher.mask_cuts(scratch, cut);
            changed = true;
        }
        if changed { scratch } else { line }
    }

    /// Any text, masked: stderr, messages.
    pub fn text<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut out = Vec::new();
        match &self.known().matcher {
            Some(matcher) if replace(&matcher.text, text, false, &mut out) => Cow::Owned(out),
            _ => Cow::Borrowed(text),
        }
    }

    /// The end of a text that was cut off before it, masked. What it begins with may be the end of a
    /// secret, which nobody could recognise: as much as a secret is long is left out.
    pub fn end_of_text(&self, end: &[u8]) -> Vec<u8> {
        let known = self.known();
        let from = known.matcher.as_ref().map_or(0, |of| of.clear_of(end));
        drop(known);
        self.text(end.get(from..).unwrap_or_default()).into_owned()
    }

    /// Text that comes in pieces: what may go on, masked, and the end that may yet turn out to be
    /// a secret's start, to be put in front of the next piece.
    pub fn streamed(&self, text: &str) -> (String, String) {
        let mut masked = String::from_utf8_lossy(&self.text(text.as_bytes())).into_owned();
        let known = self.known();
        let Some(matcher) = &known.matcher else {
            return (masked, String::new());
        };
        let held = matcher.held(masked.as_bytes());
        // a form begins with a character's first byte, so this never cuts one
        let held = masked.split_off(masked.len() - held);
        (masked, held)
    }

    /// Whether there is nothing to mask.
    pub fn is_none(&self) -> bool {
        self.known().matcher.is_none()
    }
}

impl Matcher {
    /// Of these secrets; none where there is nothing to look for.
    fn new(secrets: &[SecretString]) -> Result<Option<Self>, RedactError> {
        let mut json = Vec::new();
        let mut text = Vec::new();
        for secret in secrets {
            forms::collect(secret.expose_secret().trim(), &mut json, &mut text);
        }
        if json.is_empty() {
            return Ok(None);
        }
        text.extend_from_slice(&json);
        text.sort_unstable();
        text.dedup();
        let error = |source| RedactError {
            count: secrets.len(),
            source,
        };
        Ok(Some(Self {
            json: automaton(&json).map_err(error)?,
            text: automaton(&text).map_err(error)?,
            longest: text.iter().map(Vec::len).max().unwrap_or(1),
            forms: text,
        }))
    }

    /// Masks the start of a secret whose end the framer cut off. Text may hold any number of
    /// markers that are no cuts: the time is linear all the same.
    fn mask_cuts(&self, line: &mut Vec<u8>, cut: Cut) {
        let mut cuts: Vec<usize> = memchr::memmem::find_iter(line, MARKER).collect();
        if cut == Cut::AtEnd {
            cuts.push(line.len());
        }
        let mut masked = Vec::with_capacity(line.len() + MASK.len());
        let mut from = 0;
        for cut in cuts {
            let before = line.get(from..cut).unwrap_or_default();
            let held = self.held(before);
            masked.extend_from_slice(before.get(..before.len() - held).unwrap_or_default());
            if held > 0 {
                masked.extend_from_slice(MASK);
            }
            from = cut;
        }
        masked.extend_from_slice(line.get(from..).unwrap_or_default());
        *line = masked;
    }

    /// From where on `text` holds nothing of a secret that began before it.
    fn clear_of(&self, text: &[u8]) -> usize {
        let mut from = (self.longest - 1).min(text.len());
        let mut search = 0;
        // A whole one that reaches beyond goes as a whole.
        while let Some(found) = self.text.find(Input::new(text).range(search..))
            && found.start() < from
        {
            from = from.max(found.end());
            search = found.start() + 1;
        }
        from
    }

    /// How many bytes at the end of `text` are the start of a secret, and not all of it.
    fn held(&self, text: &[u8]) -> usize {
        let window = text.len().saturating_sub(self.longest - 1);
        let begins = |tail: &[u8]| {
            let mut forms = self.forms.iter();
            forms.any(|form| form.len() > tail.len() && form.starts_with(tail))
        };
        (window..text.len())
            .filter_map(|at| text.get(at..))
            .find(|tail| begins(tail))
            .map_or(0, <[u8]>::len)
    }
}

// A DFA would be faster but takes megabytes for one private key.
fn automaton(forms: &[Vec<u8>]) -> Result<AhoCorasick, aho_corasick::BuildError> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(forms)
}

/// Appends `input` to `out` with every match masked; `false` (and nothing appended) without one.
fn replace(automaton: &AhoCorasick, input: &[u8], json: bool, out: &mut Vec<u8>) -> bool {
    let mut from = 0;
    let mut search = 0;
    while let Some(found) = automaton.find(Input::new(input).range(search..)) {
        let before = input.get(..found.start()).unwrap_or_default();
        // the match's first byte belongs to an escape: `\nabcdefgh` does not hold `nabcdefgh`
        if json && before.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1 {
            search = found.start() + 1;
            continue;
        }
        out.extend_from_slice(before.get(from..).unwrap_or_default());
        out.extend_from_slice(MASK);
        from = found.end();
        search = from;
    }
    if from > 0 {
        out.extend_from_slice(input.get(from..).unwrap_or_default());
    }
    from > 0
}

#[cfg(test)]
mod tests;
