use candle_core::{DType, Module, Result, Tensor};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Parameters, WeightDecay, backward};

use super::{CPU, new_model, tiny_config};
use crate::{Batch, Gpt, GptConfig};

fn ids() -> Result<Tensor> {
    Tensor::new(&[[1u32, 2, 3, 4, 5], [200, 100, 0, 255, 9]], &CPU)
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    let (model, parameters) = new_model(0, DType::F32)?;
    let batch = Batch::from_starts(&(0..=255).collect::<Vec<u32>>(), &[0, 90], 8, &CPU).unwrap();
    let loss = cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?;
    assert_gradients_flow(&parameters, &backward(&loss)?)
}

#[test]
fn a_new_model_has_a_loss_near_log_v() -> Result<()> {
    let (model, _) = new_model(0, DType::F32)?;
    let targets = Tensor::new(&[[9i64, 8, 7, 6, 50], [51, 52, 53, 54, 55]], &CPU)?;
    let loss = cross_entropy(&model.forward(&ids()?)?, &targets)?.to_scalar::<f32>()?;
    // Logits of standard deviation 0.02·√16 = 0.08, ten targets: four standard errors are 0.1.
    assert_close(loss, 256f32.ln(), 0.015); // near log 256
    Ok(())
}

#[test]
fn logits_do_not_depend_on_future_tokens() -> Result<()> {
    let (model, _) = new_model(0, DType::F64)?;
    let past = |last: u32| {
        let ids = Tensor::new(&[[7u32, 8, 9, last]], &CPU)?;
        model.forward(&ids)?.narrow(1, 0, 3)
    };
    assert_close(&past(1)?, &past(250)?, 1e-12);
    Ok(())
}

#[test]
fn next_logits_equal_the_last_row_of_forward() -> Result<()> {
    let (model, _) = new_model(0, DType::F64)?;
    let all = model.forward(&ids()?)?;
    assert_eq!(all.dims(), [2, 5, 256]);
    assert_close(&model.next_logits(&ids()?)?, &all.narrow(1, 4, 1)?.squeeze(1)?, 1e-12);
    Ok(())
}

#[test]
fn the_parameter_count_follows_gpt2s_formula() -> Result<()> {
    let mut gpt2_small =
        GptConfig { vocab_size: 50_257, ..GptConfig::byte_level(1024, 12, 12, 768) };
    assert_eq!(gpt2_small.parameter_count(), 124_439_808.);
    gpt2_small.block.n_layer = usize::MAX;
    assert!(gpt2_small.parameter_count() > 1e26);
    let config = GptConfig { vocab_size: 503, ..GptConfig::byte_level(10, 12, 4, 8) };
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Gpt::new(&config, parameters.root())?;
    assert_eq!(parameters.n_parameters() as f64, config.parameter_count());
    Ok(())
}

#[test]
fn initial_weights_follow_gpt2_and_only_matrices_decay() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Gpt::new(&GptConfig::byte_level(64, 2, 2, 64), parameters.root())?;
    for parameter in parameters.iter() {
        let name = parameter.name.as_str();
        let values = parameter.var.flatten_all()?.to_vec1::<f32>()?;
        let n = values.len() as f32;
        let std = (values.iter().map(|x| x * x).sum::<f32>() / n).sqrt();
        let is_matrix = name.contains("c_") && name.ends_with("weight");
        let expected = match name {
            _ if name.ends_with("bias") => 0.,
            _ if name.contains("ln_") => 1.,
            _ if name.ends_with("c_proj.weight") => 0.02 / 2f32, // two layers: √(2·2)
            _ => 0.02,
        };
        assert!((std - expected).abs() <= 4. * expected / (2. * n).sqrt() + 1e-9, "{name}: {std}");
        assert_eq!(parameter.weight_decay == WeightDecay::Yes, is_matrix, "{name}");
    }
    Ok(())
}

#[test]
fn attention_weights_has_one_map_per_block_and_head() -> Result<()> {
    let (model, _) = new_model(0, DType::F64)?;
    let maps = model.attention_weights(&ids()?)?;
    assert_eq!(maps.len(), 2);
    assert_eq!(maps[1].dims(), [2, 2, 5, 5]);
    assert_close(&maps[1].sum(3)?, &Tensor::ones((2, 2, 5), DType::F64, &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn a_text_longer_than_the_context_or_invalid_sizes_are_errors() -> Result<()> {
    let (model, _) = new_model(0, DType::F32)?;
    let error = model.forward(&Tensor::zeros((1, 9), DType::U32, &CPU)?).unwrap_err().to_string();
    assert!(error.contains("9 tokens do not fit"), "{error}");
    let mut invalid = tiny_config();
    invalid.block.n_head = 3;
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    assert!(Gpt::new(&invalid, parameters.root()).is_err());
    invalid = GptConfig { context_len: 0, ..tiny_config() };
    assert!(Gpt::new(&invalid, parameters.root()).is_err());
    Ok(())
}
