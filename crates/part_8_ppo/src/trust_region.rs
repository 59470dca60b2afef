//! 8.1 Trust region policy optimization (TRPO; Schulman et al., <https://arxiv.org/abs/1502.05477>),
//! where PPO's clip comes from.
//!
//! ```text
//! importance sampling   E_{y ~ π}[f] = E_{y ~ π_old}[ π/π_old · f ]    old samples, new policy
//! surrogate             L(θ) = E_{y ~ π_old}[ Σ_t ρ_t A_t ],   ρ_t = π(y_t)/π_old(y_t)
//! trust region          maximize L(θ)   subject to   KL(π_old ‖ π_θ) ≤ δ
//! ```
//!
//! At θ_old the surrogate has the gradient of the true objective; far from it, it promises what the
//! policy cannot keep, because its states are those of the old policy. The KL bounds the difference
//! (policy improvement bound), so a step within δ improves. With L linear and the KL quadratic, F
//! its second derivative (the Fisher matrix), the Lagrangian g·s − λ (½ sᵀF s − δ) is largest at
//!
//! ```text
//! s = F⁻¹ g · √(2δ / gᵀF⁻¹g)          the natural gradient, as long as the region allows
//! ```
//!
//! By duality a penalty λ KL with the right λ takes the same step, but the right λ differs from
//! step to step, while one δ serves a whole run. F has as many rows as there are parameters, so it
//! is never built: conjugate gradients needs only products F v, and those are derivatives of the
//! KL's gradient. Our graph does not differentiate twice, so they are central differences of
//! gradients. A line search shortens the step until the true KL is within δ and the true surrogate
//! has grown.
//!
//! A step costs some forty gradients, and needs the whole batch at once. PPO keeps the idea, stay
//! where the samples are valid, and drops the mathematics: past the clip a token's gradient is 0,
//! in minibatches and with any optimizer. It bounds ratios, not the KL, and promises nothing.

use candle_core::{DType, Result, Tensor, bail};

/// Relative residual at which conjugate gradients stops.
const CG_TOLERANCE: f64 = 1e-10;

/// Scalar function of the parameters, with its gradient, of their shape.
pub type Objective<'a> = dyn Fn(&Tensor) -> Result<(f64, Tensor)> + 'a;

/// Settings of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrustRegion {
    /// δ: largest KL(π_old ‖ π) of a step, in nats.
    pub max_kl: f64,
    /// Iterations of conjugate gradients.
    pub cg_iterations: usize,
    /// Multiple of the identity that is added to F, which is singular where logits are shifted by a
    /// constant.
    pub damping: f64,
    /// Halvings of the step in the line search.
    pub max_backtracks: usize,
}

/// Accepted step.
#[derive(Debug, Clone)]
pub struct TrustRegionStep {
    /// New parameters.
    pub parameters: Tensor,
    /// KL(π_old ‖ π), in nats.
    pub kl: f64,
    /// Growth of the surrogate.
    pub improvement: f64,
    /// Number of halvings.
    pub n_backtracks: usize,
}

impl TrustRegion {
    /// Step from `parameters` that raises `surrogate` while `kl`, which is 0 at `parameters`, stays
    /// within the region; `None` if the line search finds none.
    ///
    /// # Errors
    /// When a function fails or has no derivative.
    pub fn step(
        &self,
        parameters: &Tensor,
        surrogate: &Objective<'_>,
        kl: &Objective<'_>,
    ) -> Result<Option<TrustRegionStep>> {
        let (before, g) = surrogate(parameters)?;
        let product = |v: &Tensor| fisher_vector_product(parameters, kl, v)? + (v * self.damping)?;
        let direction = conjugate_gradients(product, &g, self.cg_iterations)?; // F⁻¹ g
        let curvature = dot(&direction, &g)?; // gᵀF⁻¹g
        if curvature <= 0. {
            return Ok(None); // at a maximum
        }
        let mut step = (direction * (2. * self.max_kl / curvature).sqrt())?;
        for n_backtracks in 0..=self.max_backtracks {
            let moved = (parameters + &step)?;
            let ((kl, _), (after, _)) = (kl(&moved)?, surrogate(&moved)?);
            if kl <= self.max_kl && after > before {
                let improvement = after - before;
                return Ok(Some(TrustRegionStep {
                    parameters: moved,
                    kl,
                    improvement,
                    n_backtracks,
                }));
            }
            step = (step * 0.5)?;
        }
        Ok(None)
    }
}

/// Product F v of the second derivative of `kl` at `parameters` with `v`, of their shape, by
/// central differences of gradients: (∇kl(θ + εv) − ∇kl(θ − εv)) / 2ε.
///
/// # Errors
/// When `kl` fails or has no derivative.
pub fn fisher_vector_product(
    parameters: &Tensor,
    kl: &Objective<'_>,
    v: &Tensor,
) -> Result<Tensor> {
    let norm = dot(v, v)?.sqrt();
    if norm == 0. {
        return v.zeros_like();
    }
    // Far enough that the gradients differ by more than their rounding.
    let shift = if parameters.dtype() == DType::F64 { 1e-4 } else { 1e-2 } / norm;
    let (_, ahead) = kl(&(parameters + (v * shift)?)?)?;
    let (_, behind) = kl(&(parameters - (v * shift)?)?)?;
    (ahead - behind)? / (2. * shift)
}

/// Solution x of F x = b by at most `iterations` of conjugate gradients, from `product`, which
/// computes F v for a symmetric positive F.
///
/// # Errors
/// When `product` fails, or F is not positive.
pub fn conjugate_gradients(
    product: impl Fn(&Tensor) -> Result<Tensor>,
    b: &Tensor,
    iterations: usize,
) -> Result<Tensor> {
    let (mut x, mut residual, mut direction) = (b.zeros_like()?, b.clone(), b.clone());
    let mut squared = dot(b, b)?;
    let enough = squared * CG_TOLERANCE * CG_TOLERANCE;
    for _ in 0..iterations {
        if squared <= enough {
            break;
        }
        let image = product(&direction)?; // F d
        let curvature = dot(&direction, &image)?;
        if curvature <= 0. {
            bail!("the matrix has a direction of curvature {curvature}: it is not positive");
        }
        let length = squared / curvature;
        x = (x + (&direction * length)?)?;
        residual = (residual - (image * length)?)?;
        let next = dot(&residual, &residual)?;
        direction = (&residual + (direction * (next / squared))?)?;
        squared = next;
    }
    Ok(x)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    (a * b)?.sum_all()?.to_dtype(DType::F64)?.to_scalar()
}
