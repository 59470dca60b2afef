//! How cost grows: the exponent of a power law, fitted to measurements, with its interval.

use std::fmt;

/// Quantiles of Student's t for a 95 % interval, with 1, 2, .. degrees of freedom.
const T_QUANTILES: [f64; 8] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306];

/// Exponent p of y ∝ x^p, and half the width of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exponent {
    pub(crate) value: f64,
    pub(crate) half_width: f64,
}

impl Exponent {
    // ANCHOR: fit
    /// Slope of the least-squares line of ln y over ln x, for at least three points (x, y). The
    /// interval takes all that is not on the line for noise, also a bend.
    pub(crate) fn fit(points: &[(f64, f64)]) -> Self {
        let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let n = logs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let squares: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let products: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let value = products / squares;
        let residual = |(x, y): &(f64, f64)| y - mean_y - value * (x - mean_x);
        let errors: f64 = logs.iter().map(|point| residual(point).powi(2)).sum();
        let freedom = logs.len().saturating_sub(2).max(1);
        let t = T_QUANTILES[freedom.min(T_QUANTILES.len()) - 1];
        Self { value, half_width: t * (errors / freedom as f64 / squares).sqrt() }
    }
    // ANCHOR_END: fit
}

impl fmt::Display for Exponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = (self.value * 100.).round() / 100. + 0.; // without a −0
        write!(f, "{value:.2} ± {:.2}", self.half_width)
    }
}

#[cfg(test)]
mod tests {
    use tensor_core::testing::assert_close;

    use super::*;

    #[test]
    fn the_exponent_of_a_power_law_is_found_exactly() {
        let points: Vec<(f64, f64)> =
            (1..6).map(f64::from).map(|x| (x, 3. * x.powf(1.5))).collect();
        let Exponent { value, half_width } = Exponent::fit(&points);
        assert_close([value, half_width], [1.5, 0.], 1e-9);
    }

    #[test]
    fn the_interval_is_that_of_a_regression_by_hand() {
        // ln x = 0, 1, 2 and ln y = 0, 1.5, 2: slope 1, residuals −1/6, 1/3, −1/6 with squares
        // 1/6 and one degree of freedom; Σ (ln x − 1)² = 2.
        let points = [(0f64, 0f64), (1., 1.5), (2., 2.)].map(|(x, y)| (x.exp(), y.exp()));
        let Exponent { value, half_width } = Exponent::fit(&points);
        assert_close(value, 1., 1e-12);
        assert_close(half_width, 12.706 * (1f64 / 6. / 2.).sqrt(), 1e-9);
    }
}
