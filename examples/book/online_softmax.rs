//! Chapter 3: attention of one query over keys that arrive block by block, without ever holding all
//! scores: the online softmax (Milakov and Gimelshein 2018, <https://arxiv.org/abs/1805.02867>) of
//! FlashAttention (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>).

// ANCHOR: online
/// Running result over the scores so far: their maximum, the sum of exp(score − maximum), and the
/// sum of the values with these weights.
pub(crate) struct Running {
    max: f64,
    sum: f64,
    values: Vec<f64>,
}

impl Running {
    /// Result over no score at all.
    pub(crate) fn new(d: usize) -> Self {
        Self { max: f64::NEG_INFINITY, sum: 0., values: vec![0.; d] }
    }

    /// Takes in one more block of scores and their values.
    pub(crate) fn extend(&mut self, scores: &[f64], values: &[Vec<f64>]) {
        let max = scores.iter().copied().fold(self.max, f64::max);
        if max == f64::NEG_INFINITY {
            return; // all masked so far
        }
        let correction = (self.max - max).exp(); // of what was scaled by the old maximum
        self.sum *= correction;
        self.values.iter_mut().for_each(|value| *value *= correction);
        for (score, row) in scores.iter().zip(values) {
            let weight = (score - max).exp();
            self.sum += weight;
            for (total, value) in self.values.iter_mut().zip(row) {
                *total += weight * value;
            }
        }
        self.max = max;
    }

    /// Weighted average of all values.
    pub(crate) fn finish(&self) -> Vec<f64> {
        self.values.iter().map(|value| value / self.sum).collect()
    }
}
// ANCHOR_END: online
