//! The layers of settings on top of each other, and reading values out of them.
//!
//! Collects faults and goes on: a value that cannot be read is as if it were not there, and the
//! resolver gives no [`Config`](super::Config) in the end.

use std::path::{Path, PathBuf};

use super::env::EnvMap;
use super::fault::{Fault, Origin};
use super::file::FileSettings;
use super::options::Typed;
use super::secret::read_key_file;
use super::setting::{Setting, Shape};
use super::{EnvPattern, Shown};

/// A value as it was written.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    /// One text, or those of a list.
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
    /// What a relative path starts from.
    pub(super) base: PathBuf,
}

/// All layers, and what was found in them so far.
pub(super) struct Layers<'a> {
    pub(super) typed: Typed,
    pub(super) env: &'a EnvMap,
    pub(super) file: FileSettings,
    pub(super) cwd: &'a Path,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
    pub(super) shown: Vec<Shown>,
}

impl Layers<'_> {
    /// The value of the highest layer that has one.
    pub(super) fn raw(&mut self, setting: &Setting) -> Option<Raw> {
        if let Some(values) = self.typed.get(setting.key) {
            let origin = Origin::Flag(setting.flag.to_owned());
            return self.not_empty(values.clone(), origin);
        }
        for name in setting.variables {
            if let Some(value) = self.env.value(name) {
                let origin = Origin::Env((*name).to_owned());
                let Some(text) = value.to_str() else {
                    self.fault(origin, "the value is not UTF-8");
                    return None;
                };
                return self.not_empty(split(setting.shape, text), origin);
            }
        }
        let raw = self.file.values.get(setting.key).cloned()?;
        self.not_empty(raw.values, raw.origin.clone())
            .map(|checked| Raw {
                base: raw.base,
                ..checked
            })
    }

    /// A value, read by `read`.
    pub(super) fn value<T>(
        &mut self,
        setting: &Setting,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.raw(setting)?;
        let text = raw.values.first()?;
        match read(text) {
            Ok(value) => {
                self.show(setting.key, quoted(text), raw.origin);
                Some(value)
            }
            Err(message) => {
                self.fault(raw.origin, message);
                None
            }
        }
    }

    /// A value, or `default` where no layer has one.
    pub(super) fn value_or<T: std::fmt::Display>(
        &mut self,
        setting: &Setting,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        if let Some(value) = self.value(setting, read) {
            return value;
        }
        self.show(setting.key, quoted(&default.to_string()), Origin::Default);
        default
    }

    /// A text of any kind.
    pub(super) fn text(&mut self, setting: &Setting) -> Option<String> {
        self.value(setting, |text| Ok(text.to_owned()))
    }

    /// Whether a switch is on; off where no layer says anything.
    pub(super) fn switch(&mut self, setting: &Setting) -> bool {
        self.switch_or(setting, false)
    }

    /// On or off; `default` where nothing is given.
    pub(super) fn switch_or(&mut self, setting: &Setting, default: bool) -> bool {
        let Some(raw) = self.raw(setting) else {
            self.show(setting.key, default.to_string(), Origin::Default);
            return default;
        };
        let on = match raw.values.first().map(String::as_str) {
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            other => {
                let word = other.unwrap_or_default();
                let message = format!("`{word}` is not one of true, false, 1, 0");
                self.fault(raw.origin, message);
                return false;
            }
        };
        self.show(setting.key, on.to_string(), raw.origin);
        on
    }

    /// A list, each of its texts read by `read`.
    pub(super) fn list<T>(
        &mut self,
        setting: &Setting,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(raw) = self.raw(setting) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for text in &raw.values {
            match read(text) {
                Ok(value) => values.push(value),
                Err(message) => self.fault(raw.origin.clone(), message),
            }
        }
        let texts: Vec<String> = raw.values.iter().map(|text| quoted(text)).collect();
        self.show(setting.key, format!("[{}]", texts.join(", ")), raw.origin);
        values
    }

    /// A path, made absolute.
    pub(super) fn path(&mut self, setting: &Setting) -> Option<PathBuf> {
        let raw = self.raw(setting)?;
        let path = self.absolute(&raw)?;
        self.show(setting.key, quoted(&path.display().to_string()), raw.origin);
        Some(path)
    }

    /// Paths, made absolute.
    pub(super) fn paths(&mut self, setting: &Setting) -> Vec<PathBuf> {
        let Some(raw) = self.raw(setting) else {
            return Vec::new();
        };
        let paths = raw.values.iter();
        let paths: Vec<_> = paths.filter_map(|text| self.anchored(&raw, text)).collect();
        let texts = paths.iter().map(|path| quoted(&path.display().to_string()));
        let texts: Vec<String> = texts.collect();
        self.show(setting.key, format!("[{}]", texts.join(", ")), raw.origin);
        paths
    }

    /// The path of a file that can be read.
    pub(super) fn file(&mut self, setting: &Setting) -> Option<PathBuf> {
        let origin = self.raw(setting)?.origin;
        let path = self.path(setting)?;
        match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() => {
                self.fault(
                    origin,
                    format!("{} is a folder, not a file", path.display()),
                );
            }
            Ok(_) => {}
            Err(error) => self.fault(origin, format!("cannot read {}: {error}", path.display())),
        }
        Some(path)
    }

    /// The secret in the file that `setting` names.
    pub(super) fn secret(&mut self, setting: &Setting) -> Option<secrecy::SecretString> {
        let origin = self.raw(setting)?.origin;
        let path = self.path(setting)?;
        match read_key_file(&path) {
            Ok(key) => {
                self.warnings.extend(key.warning);
                Some(key.secret)
            }
            Err(message) => {
                self.fault(origin, message);
                None
            }
        }
    }

    /// `~/` is the home folder: shells expand it in flags, nobody does elsewhere.
    pub(super) fn absolute(&mut self, raw: &Raw) -> Option<PathBuf> {
        self.anchored(raw, raw.values.first()?)
    }

    /// The same of a text that stands where `raw` does.
    pub(super) fn anchored(&mut self, raw: &Raw, text: &str) -> Option<PathBuf> {
        let Some(rest) = text.strip_prefix("~/") else {
            // Read as its parts, which drops `./`.
            return Some(raw.base.join(text).components().collect());
        };
        if let Some(home) = self.env.value("HOME") {
            return Some(Path::new(home).join(rest));
        }
        let message = format!("`{text}` needs HOME, which is not set; write a full path");
        self.fault(raw.origin.clone(), message);
        None
    }

    pub(super) fn show(&mut self, key: impl Into<String>, value: String, origin: Origin) {
        self.shown.push(Shown {
            key: key.into(),
            value,
            origin,
        });
    }

    /// Says what is wrong; once, however often the value is looked at.
    pub(super) fn fault(&mut self, origin: Origin, message: impl Into<String>) {
        let message = message.into();
        let fault = Fault { origin, message };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn not_empty(&mut self, values: Vec<String>, origin: Origin) -> Option<Raw> {
        if values.iter().any(|value| value.trim().is_empty()) {
            self.fault(
                origin,
                "the value is empty; give one, or leave the setting out",
            );
            return None;
        }
        if values.iter().any(|value| value.contains('\0')) {
            self.fault(origin, "the value holds a NUL byte");
            return None;
        }
        Some(Raw {
            values,
            origin,
            base: self.cwd.to_owned(),
        })
    }
}

/// Reads `NAME` or `PREFIX_*`.
pub(super) fn pattern(text: &str) -> Result<EnvPattern, String> {
    EnvPattern::parse(text.trim())
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn split(shape: Shape, text: &str) -> Vec<String> {
    let parts: Vec<&str> = match shape {
        Shape::Text | Shape::Switch | Shape::Number => return vec![text.to_owned()],
        Shape::List => text.split(',').map(str::trim).collect(),
        Shape::Lines => text.lines().collect(),
    };
    let filled = parts.into_iter().filter(|part| !part.is_empty());
    filled.map(str::to_owned).collect()
}
