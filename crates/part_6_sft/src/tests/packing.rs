//! 6.2: packed examples do not see each other.

use anyhow::Result;
use modern::config::PositionEncoding;
use modern::{GptModern, ModelConfig};
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, backward};

use super::{CPU, config, model};
use crate::{SftBatch, TokenizedExample};

fn examples() -> Vec<TokenizedExample> {
    [(7, 3), (4, 1), (9, 5), (2, 1), (5, 2)]
        .into_iter()
        .enumerate()
        .map(|(i, (n, given))| {
            let ids = (0..n).map(|t| ((i * 97 + t * 31) % 389) as u32).collect();
            TokenizedExample { ids, prompt_len: given }
        })
        .collect()
}

fn configs() -> [ModelConfig; 2] {
    let mut learned = config(16);
    learned.attention.position = PositionEncoding::Learned;
    [config(16), learned]
}

#[test]
fn a_packed_batch_has_the_loss_and_the_gradients_of_its_examples_alone() -> Result<()> {
    for config in configs() {
        let (model, parameters) = model(&config, 2)?;
        let grads = |batch: &SftBatch| Ok::<_, anyhow::Error>(backward(&batch.loss(&model)?)?);
        let alone = SftBatch::padded(&examples(), &CPU)?;
        for width in [8, 11, 16] {
            let packed = SftBatch::packed(&examples(), width, &CPU)?;
            assert!(packed.inputs.dim(0)? < 5, "width {width}: something is packed");
            assert!(packed.inputs.dim(1)? <= width);
            assert_eq!(packed.n_targets(), alone.n_targets());
            assert_eq!(packed.n_tokens(), alone.n_tokens());
            assert_close(&packed.loss(&model)?, &alone.loss(&model)?, 1e-5)?;
            let (ours, theirs) = (grads(&packed)?, grads(&alone)?);
            for parameter in parameters.iter() {
                let of = |grads: &candle_core::backprop::GradStore| {
                    grads.get(parameter.var.as_tensor()).cloned().expect("a gradient")
                };
                assert_close(&of(&ours), &of(&theirs), 1e-4)?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_stands_before_an_example_in_its_row_does_not_matter() -> Result<()> {
    for config in configs() {
        let (model, _) = model(&config, 2)?;
        let example = TokenizedExample { ids: vec![9, 8, 7, 6], prompt_len: 1 };
        let with = |ids: Vec<u32>| -> Result<Vec<Vec<f32>>> {
            let before = TokenizedExample { prompt_len: ids.len(), ids };
            let batch = SftBatch::packed(&[before, example.clone()], 16, &CPU)?;
            assert_eq!(batch.inputs.dim(0)?, 1);
            Ok(batch.logits(&model)?.to_vec2()?)
        };
        assert_eq!(with(vec![1, 2, 3, 4, 5])?, with(vec![300, 20, 77, 1, 8])?);
    }
    Ok(())
}

#[test]
fn an_example_longer_than_the_row_has_a_row_of_its_own() -> Result<()> {
    let batch = SftBatch::packed(&examples(), 5, &CPU)?;
    assert_eq!(batch.inputs.dim(1)?, 8);
    assert_eq!(batch.n_tokens(), examples().iter().map(|e| e.inputs().len()).sum::<usize>());
    Ok(())
}

#[test]
fn a_window_holds_within_each_packed_example() -> Result<()> {
    let mut config = config(16);
    config.attention.window = Some(modern::SlidingWindow { size: 3, sinks: 0 });
    let mut parameters = Parameters::seeded(4, candle_core::DType::F32, &CPU);
    let model = GptModern::new(&config, parameters.root())?;
    let (packed, alone) =
        (SftBatch::packed(&examples(), 16, &CPU)?, SftBatch::padded(&examples(), &CPU)?);
    assert_close(&packed.loss(&model)?, &alone.loss(&model)?, 1e-6)?;
    Ok(())
}
