//! Masking of known secrets.
//!
//! A secret of at least [`SHORTEST`] bytes that stands in a line, plain or JSON-escaped (up to
//! three times), base64 (at any of the three shifts, both alphabets) or URL-encoded, becomes `***`
//! before anything parses, stores or cuts that line. It masks what it was told and guesses
//! nothing; a secret that is spread over several lines' texts is not seen here.

mod forms;

use std::borrow::Cow;
use std::fmt;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use secrecy::{ExposeSecret as _, SecretString};

use crate::frame::Loss;

/// Shorter values are no secrets: masking them would garble ordinary text.
pub const SHORTEST: usize = 8;

const MASK: &[u8] = b"***";

/// How every cut ends, so that a secret that the cut went through can be found before it.
const CUT: &[u8] = "…[+".as_bytes();

/// Masks a fixed set of secrets. Cheap where nothing is to be masked; never printed.
pub struct Redactor {
    matcher: Option<Matcher>,
}

struct Matcher {
    /// Every form, for text that is no JSON.
    text: AhoCorasick,
    /// The forms that can stand in a JSON string, for lines that are JSON.
    json: AhoCorasick,
    /// For secrets that a cut went through.
    forms: Vec<Vec<u8>>,
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
        Self { matcher: None }
    }

    /// Masks `secrets`; those under [`SHORTEST`] bytes are left out.
    pub fn new(secrets: &[SecretString]) -> Result<Self, RedactError> {
        let mut json = Vec::new();
        let mut text = Vec::new();
        for secret in secrets {
            forms::collect(secret.expose_secret().trim(), &mut json, &mut text);
        }
        if json.is_empty() {
            return Ok(Self::none());
        }
        text.extend_from_slice(&json);
        text.sort_unstable();
        text.dedup();
        let error = |source| RedactError {
            count: secrets.len(),
            source,
        };
        Ok(Self {
            matcher: Some(Matcher {
                json: automaton(&json).map_err(error)?,
                text: automaton(&text).map_err(error)?,
                forms: text,
            }),
        })
    }

    /// A line of output, masked. JSON stays JSON. `scratch` holds the result where it differs.
    pub fn line<'a>(&self, line: &'a [u8], loss: Loss, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(matcher) = &self.matcher else {
            return line;
        };
        let json = line.first() == Some(&b'{');
        scratch.clear();
        let automaton = if json { &matcher.json } else { &matcher.text };
        let mut changed = replace(automaton, line, json, scratch);
        if loss != Loss::None {
            if !changed {
                scratch.extend_from_slice(line);
            }
            matcher.mask_cuts(scratch, loss);
            changed = true;
        }
        if changed { scratch } else { line }
    }

    /// Any text, masked: stderr, messages.
    pub fn text<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut out = Vec::new();
        match &self.matcher {
            Some(matcher) if replace(&matcher.text, text, false, &mut out) => Cow::Owned(out),
            _ => Cow::Borrowed(text),
        }
    }
}

impl Matcher {
    /// Masks the start of a secret whose end the framer cut off.
    fn mask_cuts(&self, line: &mut Vec<u8>, loss: Loss) {
        let mut cuts: Vec<usize> = memchr::memmem::find_iter(line, CUT).collect();
        if loss == Loss::Oversized {
            cuts.push(line.len());
        }
        for cut in cuts.into_iter().rev() {
            let held = self.held(line.get(..cut).unwrap_or_default());
            if held > 0 {
                line.splice(cut - held..cut, MASK.iter().copied());
            }
        }
    }

    /// How many bytes at the end of `text` are the start of a secret.
    fn held(&self, text: &[u8]) -> usize {
        let held = |form: &Vec<u8>| {
            let longest = text.len().min(form.len() - 1);
            (1..=longest)
                .rev()
                .find(|len| form.get(..*len).is_some_and(|start| text.ends_with(start)))
        };
        self.forms.iter().filter_map(held).max().unwrap_or(0)
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
