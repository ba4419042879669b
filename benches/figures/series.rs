//! A figure's samples.

/// Samples of one figure.
#[derive(Default)]
pub struct Series {
    samples: Vec<f64>,
}

impl Series {
    /// Adds the time between two moments, in nanoseconds, as milliseconds; 0 when the second came
    /// first.
    pub fn add(&mut self, from: u64, to: u64) {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        self.push(to.saturating_sub(from) as f64 / 1e6);
    }

    pub fn push(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The smallest sample that at least so many of a hundred do not exceed.
    pub fn at(&self, percent: usize) -> f64 {
        let mut samples = self.samples.clone();
        samples.sort_by(f64::total_cmp);
        samples[(samples.len() - 1) * percent / 100]
    }

    pub fn median(&self) -> f64 {
        self.at(50)
    }

    pub fn max(&self) -> f64 {
        self.at(100)
    }
}
