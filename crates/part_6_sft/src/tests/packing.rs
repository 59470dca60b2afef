//! 6.2: packed examples do not attend to each other.

use anyhow::Result;
use model_io::ModelConfig;
use model_io::config::{LayerWindow, PositionEncoding, SlidingWindow};
use modern::GptModern;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, backward};

use super::{CPU, config, model};
use crate::{SftBatch, TokenizedExample};

fn examples() -> Vec<TokenizedExample> {
    [(7, 3), (4, 1), (9, 5), (2, 1), (5, 2)]
        .into_iter()
        .enumerate()
        .map(|(i, (n, prompt_len))| {
            let ids = (0..n).map(|t| ((i * 97 + t * 31) % 389) as u32).collect();
            TokenizedExample::new(ids, prompt_len)
        })
        .collect()
}

fn configs() -> [ModelConfig; 2] {
    let mut learned = config(16);
    learned.attention.position = PositionEncoding::Learned { offset: 0 };
    [config(16), learned]
}

#[test]
fn a_packed_batch_has_the_loss_and_gradients_of_the_padded_one() -> Result<()> {
    for config in configs() {
        let (model, parameters) = model(&config, 2)?;
        let grads = |batch: &SftBatch| Ok::<_, anyhow::Error>(backward(&batch.loss(&model)?)?);
        let padded = SftBatch::padded(&examples(), &CPU)?;
        for width in [8, 11, 16] {
            let packed = SftBatch::packed(&examples(), width, &CPU)?;
            assert!(packed.inputs.dim(0)? < 5, "width {width}: some rows hold several examples");
            assert!(packed.inputs.dim(1)? <= width);
            assert_eq!(packed.n_targets(), padded.n_targets());
            assert_eq!(packed.n_tokens(), padded.n_tokens());
            assert_close(&packed.loss(&model)?, &padded.loss(&model)?, 1e-5);
            let (packed_grads, padded_grads) = (grads(&packed)?, grads(&padded)?);
            for parameter in parameters.iter() {
                let grad = |grads: &candle_core::backprop::GradStore| {
                    grads.get(parameter.var.as_tensor()).cloned().expect("a gradient")
                };
                assert_close(grad(&packed_grads), grad(&padded_grads), 1e-4);
            }
        }
    }
    Ok(())
}

#[test]
fn earlier_examples_in_a_row_do_not_change_the_logits() -> Result<()> {
    for config in configs() {
        let (model, _) = model(&config, 2)?;
        let example = TokenizedExample::new(vec![9, 8, 7, 6], 1);
        let logits_after = |ids: Vec<u32>| -> Result<Vec<Vec<f32>>> {
            let before = TokenizedExample { target_spans: Vec::new(), ids };
            let batch = SftBatch::packed(&[before, example.clone()], 16, &CPU)?;
            assert_eq!(batch.inputs.dim(0)?, 1);
            Ok(model.logits(&batch.hidden_at_targets(&model)?)?.to_vec2()?)
        };
        assert_eq!(logits_after(vec![1, 2, 3, 4, 5])?, logits_after(vec![300, 20, 77, 1, 8])?);
    }
    Ok(())
}

#[test]
fn an_example_longer_than_the_row_gets_its_own_row() -> Result<()> {
    let batch = SftBatch::packed(&examples(), 5, &CPU)?;
    assert_eq!(batch.inputs.dim(1)?, 8);
    assert_eq!(batch.n_tokens(), examples().iter().map(|e| e.inputs().len()).sum::<usize>());
    Ok(())
}

#[test]
fn padding_of_a_packed_row_does_not_count_towards_the_learned_positions() -> Result<()> {
    let mut config = config(16);
    config.attention.position = PositionEncoding::Learned { offset: 0 };
    let (model, _) = model(&config, 2)?;
    let example = |n: u32| TokenizedExample::new((1..=n).collect(), 1);
    let examples = [example(15), example(15), example(15), example(3)]; // rows of 42 and 2 tokens
    let packed = SftBatch::packed(&examples, 42, &CPU)?;
    assert_eq!(packed.inputs.dims2()?, (2, 42));
    let padded = SftBatch::padded(&examples, &CPU)?;
    assert_close(&packed.loss(&model)?, &padded.loss(&model)?, 1e-5);
    Ok(())
}

#[test]
fn packing_is_refused_for_a_model_with_attention_sinks() -> Result<()> {
    let mut config = config(16);
    config.attention.window = Some(SlidingWindow { size: 3, sinks: 1 }.into());
    let (model, _) = model(&config, 2)?;
    let error = SftBatch::packed(&examples(), 16, &CPU)?.loss(&model).expect_err("refused");
    assert!(error.to_string().contains("sinks"), "{error}");
    SftBatch::padded(&examples(), &CPU)?.loss(&model)?;
    Ok(())
}

#[test]
fn the_sliding_window_stays_within_each_packed_example() -> Result<()> {
    let mut config = config(16);
    let window = LayerWindow::from(SlidingWindow { size: 3, sinks: 0 });
    for full_attention_interval in [None, Some(2)] {
        config.attention.window = Some(LayerWindow { full_attention_interval, ..window });
        let mut parameters = Parameters::seeded(4, candle_core::DType::F32, &CPU);
        let model = GptModern::new(&config, parameters.root())?;
        let (packed, padded) =
            (SftBatch::packed(&examples(), 16, &CPU)?, SftBatch::padded(&examples(), &CPU)?);
        assert_close(&packed.loss(&model)?, &padded.loss(&model)?, 1e-6);
    }
    Ok(())
}
