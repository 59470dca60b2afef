//! Comparison of the ranks' copies of the weights and of the optimizer state. All take the same
//! steps, so all have the same bytes. If one has others (a bit of its memory flipped, its processor
//! rounds in another way), the gradients that are averaged from then on are those of different
//! models, which no loss shows at once. So the copies are compared before each checkpoint.

use anyhow::{Result, bail};
use candle_core::Tensor;
use tensor_core::sha256;

use crate::TrainState;

/// Checks that all ranks of `state` have the same trained weights and optimizer state after step
/// `step`. One exchange carries the hashes of all tensors.
///
/// # Errors
/// Names a tensor and the rank that has another; and when another rank has ended.
pub(crate) fn ensure_same_weights(state: &TrainState, step: usize) -> Result<()> {
    let TrainState { parameters, optimizer, ranks, .. } = state;
    if !ranks.are_several() {
        return Ok(());
    }
    let (mut names, mut hashes) = (Vec::new(), Vec::new());
    for parameter in parameters.trainable() {
        names.push(format!("parameter `{}`", parameter.name));
        hashes.push(hash(parameter.var.as_tensor())?);
    }
    for (name, tensor) in optimizer.state_view()? {
        names.push(format!("optimizer state `{name}`"));
        hashes.push(hash(&tensor)?);
    }
    let of_ranks = ranks.gather(&hashes)?;
    for (i, name) in names.iter().enumerate() {
        let of_tensor: Vec<Option<&String>> = of_ranks.iter().map(|all| all.get(i)).collect();
        if let Some(rank) = rank_that_differs(&of_tensor) {
            bail!(
                "rank {rank} has another {name} than the other ranks after step {step}, so no \
                 checkpoint of this step was written"
            );
        }
    }
    Ok(())
}

/// SHA-256 of the values of `tensor`.
fn hash(tensor: &Tensor) -> Result<String> {
    let mut bytes = Vec::new();
    tensor.write_bytes(&mut bytes)?;
    Ok(sha256::hash_bytes(&bytes))
}

/// First rank whose value is not that of most; where as many have one as another, the first rank is
/// in the right. `None` if all have the same.
fn rank_that_differs<T: PartialEq>(of_ranks: &[T]) -> Option<usize> {
    let first = of_ranks.first()?;
    if of_ranks.iter().all(|value| value == first) {
        return None;
    }
    let count = |value: &&T| of_ranks.iter().filter(|other| other == value).count();
    let common = of_ranks.iter().rev().max_by_key(count)?; // the last maximum, so the first rank's
    of_ranks.iter().position(|value| value != common)
}
