//! Reports that a turn is expected to leave.

use std::path::{Component, Path, PathBuf};

use super::layers::{Layers, Raw, quoted};
use super::setting;

/// A file that each turn is expected to leave in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedReport {
    /// Its place in the workspace: relative, and never out of it.
    pub path: PathBuf,
    /// The JSON schema that it must fit.
    pub schema: Option<PathBuf>,
}

impl ExpectedReport {
    /// Reads a place in the workspace; an absolute one, or one that leads out of it, is none.
    pub fn place(text: &str) -> Result<PathBuf, String> {
        let path: PathBuf = Path::new(text)
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        let is_below = |part: Component<'_>| matches!(part, Component::Normal(_));
        if path.as_os_str().is_empty() || !path.components().all(is_below) {
            return Err(format!(
                "`{}` is no place in the workspace; write a relative path without `..`",
                text.escape_debug()
            ));
        }
        Ok(path)
    }

    /// The texts of a list with their schemas' paths made absolute.
    pub(super) fn all_anchored(layers: &mut Layers<'_>, raw: &Raw) -> Vec<String> {
        let mut anchored = Vec::new();
        for text in &raw.values {
            let schema = text.split_once(':');
            let schema = schema.and_then(|(path, schema)| {
                let schema = layers.anchored(raw, schema)?;
                Some(format!("{path}:{}", schema.to_str()?))
            });
            anchored.push(schema.unwrap_or_else(|| text.clone()));
        }
        anchored
    }
}

/// Reads `FILE` and `FILE:SCHEMA`.
pub(super) fn expected(layers: &mut Layers<'_>) -> Vec<ExpectedReport> {
    let Some(raw) = layers.raw(&setting::EXPECT) else {
        return Vec::new();
    };
    let texts = ExpectedReport::all_anchored(layers, &raw);
    let mut reports = Vec::new();
    for text in &texts {
        let (place, schema) = match text.split_once(':') {
            Some((place, schema)) => (place, Some(PathBuf::from(schema))),
            None => (text.as_str(), None),
        };
        if let Some(schema) = &schema
            && let Err(error) = std::fs::File::open(schema)
        {
            let message = format!("cannot read {}: {error}", schema.display());
            layers.fault(raw.origin.clone(), message);
        }
        match ExpectedReport::place(place) {
            Ok(path) => reports.push(ExpectedReport { path, schema }),
            Err(message) => layers.fault(raw.origin.clone(), message),
        }
    }
    let shown: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    layers.show(
        setting::EXPECT.key,
        format!("[{}]", shown.join(", ")),
        raw.origin,
    );
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_lies_within_the_workspace() {
        for (text, path) in [("a.json", "a.json"), ("./out//b.md", "out/b.md")] {
            assert_eq!(ExpectedReport::place(text), Ok(PathBuf::from(path)));
        }
        for text in ["", ".", "/etc/passwd", "../a", "a/../../b"] {
            assert!(ExpectedReport::place(text).is_err(), "{text}");
        }
    }
}
