//! Sum of gradient stores in place, so that the gradient of a large matrix is not allocated for
//! every term.

use std::collections::HashSet;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

use super::backward::add_gradients;
use crate::kernels::{
    Float, GRAIN, by_type, for_each_part, has_fused_loops, values, vectorized, write,
};

/// Sum of gradients, variable by variable.
#[derive(Default)]
pub(super) struct GradSum {
    grads: Option<GradStore>,
    /// Variables whose sum was allocated here, so that nothing else reads its memory.
    own: HashSet<TensorId>,
}

impl GradSum {
    /// Adds the gradients of `term`.
    pub(super) fn add(&mut self, term: GradStore) -> Result<()> {
        let Some(grads) = &mut self.grads else {
            self.grads = Some(term);
            return Ok(());
        };
        for &id in term.get_ids() {
            let Some(grad) = term.get_id(id) else { continue };
            match grads.get_id(id) {
                None => _ = grads.insert_id(id, grad.clone()),
                Some(sum) if self.own.contains(&id) => by_type!(sum, add_in_place(sum, grad))?,
                Some(sum) => {
                    let sum = add_gradients(sum, grad)?;
                    if has_fused_loops(&sum) && sum.dtype() == grad.dtype() {
                        self.own.insert(id);
                    }
                    grads.insert_id(id, sum);
                }
            }
        }
        Ok(())
    }

    /// The sum; `None` of no terms.
    pub(super) fn finish(self) -> Option<GradStore> {
        self.grads
    }
}

/// `sum += grad`.
fn add_in_place<T: Float>(sum: &Tensor, grad: &Tensor) -> Result<()> {
    let grad = grad.contiguous()?;
    let grad = values::<T>(&grad)?;
    write(sum, |sum: &mut [T]| {
        for_each_part([(sum, GRAIN)], |part, [sum]| {
            let terms = sum.iter_mut().zip(&grad[part * GRAIN..]);
            vectorized!(terms.for_each(|(sum, &grad)| *sum += grad));
        });
    })
}
