//! A figure's samples.

/// Samples of one figure.
pub struct Series {
    name: &'static str,
    millis: Vec<f64>,
}

impl Series {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            millis: Vec::new(),
        }
    }

    /// Adds the time between two moments, in nanoseconds; 0 when the second came first.
    pub fn add(&mut self, from: u64, to: u64) {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        self.millis.push(to.saturating_sub(from) as f64 / 1e6);
    }

    pub fn print(mut self) {
        self.millis.sort_by(f64::total_cmp);
        let at = |percent: usize| self.millis[(self.millis.len() - 1) * percent / 100];
        println!(
            "{}: p50 {:.2}, p99 {:.2}, min {:.2}, max {:.2} (n={})",
            self.name,
            at(50),
            at(99),
            at(0),
            at(100),
            self.millis.len()
        );
    }
}
