//! The table that people read, and the same as JSON.

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

/// What a figure is held to.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Measured, and held to nothing.
    None,
}

/// One figure.
#[derive(Serialize)]
pub struct Figure {
    row: &'static str,
    measure: String,
    goal: Goal,
    got: f64,
    /// How many samples or rounds.
    n: usize,
    /// The same of the bare pipeline, in the same run.
    reference: Option<f64>,
    met: Option<bool>,
}

impl Figure {
    pub fn new(row: &'static str, measure: impl Into<String>, goal: Goal, got: f64) -> Self {
        let met = match goal {
            Goal::AtMost(goal) => Some(got <= goal),
            Goal::AtLeast(goal) => Some(got >= goal),
            Goal::None => None,
        };
        Self {
            row,
            measure: measure.into(),
            goal,
            got,
            n: 1,
            reference: None,
            met,
        }
    }

    pub fn of(self, n: usize) -> Self {
        Self { n, ..self }
    }

    pub fn beside(self, reference: f64) -> Self {
        Self {
            reference: Some(reference),
            ..self
        }
    }
}

/// All figures of a run.
#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure and prints its line.
    pub fn add(&mut self, figure: Figure) {
        if self.figures.is_empty() {
            println!(
                "{:4} {:62} {:>11} {:>10} {:>10} {:>6} {:>4}  met",
                "row", "measure", "goal", "got", "reference", "ratio", "n"
            );
        }
        let goal = match figure.goal {
            Goal::AtMost(goal) => format!("<= {}", short(goal)),
            Goal::AtLeast(goal) => format!(">= {}", short(goal)),
            Goal::None => String::new(),
        };
        let reference = figure.reference.map(short).unwrap_or_default();
        let ratio = figure
            .reference
            .map(|reference| format!("{:.2}", figure.got / reference));
        let met = match figure.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        println!(
            "{:4} {:62} {goal:>11} {:>10} {reference:>10} {:>6} {:>4}  {met}",
            figure.row,
            figure.measure,
            short(figure.got),
            ratio.unwrap_or_default(),
            figure.n,
        );
        std::io::stdout().flush().expect("stdout is open");
        self.figures.push(figure);
    }

    /// Writes the figures beside what cargo builds; says where.
    pub fn save(&self, machine: &str) {
        let program = std::env::current_exe().expect("this program's path");
        let target = program.ancestors().nth(3).map(PathBuf::from);
        let path = target.unwrap_or_default().join("bench.json");
        let report = json!({"machine": machine, "figures": self.figures});
        let text = serde_json::to_string_pretty(&report).expect("figures are JSON");
        std::fs::write(&path, text).expect("the build folder is writable");
        println!("as JSON: {}", path.display());
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
