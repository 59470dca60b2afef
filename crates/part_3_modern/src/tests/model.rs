use candle_core::{DType, Result, Tensor};
use tensor_core::backward;
use tensor_core::ops::cross_entropy;
use tensor_core::testing::{assert_close, assert_gradients_flow};

use super::{CPU, fresh, ids, tiny, variants};
use crate::config::Mlp;
use crate::{GptModern, ModelConfig};

#[test]
fn every_parameter_of_every_variant_learns() -> Result<()> {
    for (name, config) in variants() {
        let (model, parameters) = fresh(&config, DType::F32)?;
        let targets = ids(2, 9, 2)?.to_dtype(DType::I64)?;
        let loss = cross_entropy(&model.forward(&ids(2, 9, 1)?)?, &targets)?;
        println!("{name}");
        let grads = backward(&loss)?;
        if name == "learned positions" {
            continue; // those beyond the text get none
        }
        assert_gradients_flow(&parameters, &grads)?;
    }
    Ok(())
}

#[test]
fn logits_depend_on_the_past_alone() -> Result<()> {
    for (name, config) in variants() {
        let (model, _) = fresh(&config, DType::F64)?;
        let past = |last: u32| {
            let ids = Tensor::new(&[[7u32, 8, 9, 3, 2, last]], &CPU)?;
            model.forward(&ids)?.narrow(1, 0, 5)
        };
        println!("{name}");
        assert_close(&past(1)?, &past(5)?, 1e-12)?;
    }
    Ok(())
}

#[test]
fn positions_make_a_difference() -> Result<()> {
    for (name, config) in variants() {
        let (model, _) = fresh(&config, DType::F64)?;
        let last =
            |ids: &[u32]| model.forward(&Tensor::new(ids, &CPU)?.unsqueeze(0)?)?.narrow(1, 2, 1);
        let apart =
            (last(&[1, 2, 3])? - last(&[2, 1, 3])?)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(apart > 1e-6, "{name}: the order of earlier tokens does not matter");
    }
    Ok(())
}

#[test]
fn a_gated_layer_has_as_many_parameters_as_a_plain_one() -> Result<()> {
    let count = |mlp| -> Result<usize> {
        let config = ModelConfig { mlp, ..ModelConfig::bytes(64, 2, 4, 192) };
        Ok(fresh(&config, DType::F32)?.1.count())
    };
    let gated = count(Mlp::SwiGlu { width: ModelConfig::swiglu_width(192) })?;
    let plain = count(Mlp::Gelu { width: 4 * 192, form: tensor_core::ops::Gelu::Tanh })?;
    let biases = 2 * (4 * 192 + 192);
    assert_eq!(gated, plain - biases);
    Ok(())
}

#[test]
fn impossible_sizes_are_refused() {
    let error = |change: fn(&mut ModelConfig)| {
        let mut config = tiny();
        change(&mut config);
        let mut parameters = tensor_core::Parameters::seeded(0, DType::F32, &CPU);
        GptModern::new(&config, parameters.root()).expect_err("refused").to_string()
    };
    assert!(error(|c| c.attention.n_kv_head = 3).contains("4 query heads cannot share 3"));
    assert!(error(|c| c.attention.head_dim = 5).contains("head of 5"));
    assert!(error(|c| c.n_layer = 0).contains("layers is 0"));
}
