//! Statistics of results: mean, standard deviation, and the confidence interval of a share.

/// Mean of `values`; 0 without values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Standard deviation of `values` themselves: their squared differences are divided by n.
pub fn std(values: &[f64]) -> f64 {
    (squared_differences(values) / values.len().max(1) as f64).sqrt()
}

/// Standard deviation estimated from a sample, such as runs with several seeds: the squared
/// differences are divided by n − 1. 0 for a single value.
pub fn sample_std(values: &[f64]) -> f64 {
    (squared_differences(values) / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

/// Sum of the squared differences between `values` and their mean.
fn squared_differences(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Wilson's 95 % confidence interval of a share of `n` cases (<https://doi.org/10.2307/2276774>).
pub fn wilson_interval(share: f64, n: usize) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    let n = n.max(1) as f64;
    let center = share + Z * Z / (2. * n);
    let half_width = Z * (share * (1. - share) / n + Z * Z / (4. * n * n)).sqrt();
    [center - half_width, center + half_width].map(|bound| (bound / (1. + Z * Z / n)).clamp(0., 1.))
}
