//! 8.2: values belong to the states before tokens.

use anyhow::Result;
use candle_core::DType;
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{CPU, END, at, config, inference_model, policy};
use crate::{Critic, CriticBackbone, RolloutGroup, TokenBatch, critic, rollout};

#[test]
fn values_start_at_0_and_precede_their_tokens() -> Result<()> {
    let config = config();
    let (model, parameters) = policy(&config, 3)?;
    let settings = at(2., None, None);
    let prompts = vec![vec![1, 2, 3, 4, 5], vec![7, END, 8], vec![9]];
    let groups =
        rollout(&inference_model(&config, &parameters)?, &prompts, &settings, &mut Rng::new(1))?;
    let batch = TokenBatch::from_groups(&groups, &config, &CPU)?;
    for trunk in [CriticBackbone::Shared, CriticBackbone::Separate] {
        let mut train_state = critic::new_critic(trunk, &config, &parameters, Default::default())?;
        let critic = Critic::from_parameters(&mut train_state.parameters, trunk, &config)?;
        let values = critic.values(&batch, || batch.hidden(&model))?;
        assert_eq!(values.token_values.abs()?.sum_all()?.to_scalar::<f32>()?, 0.);
        for parameter in train_state.parameters.iter().filter(|p| p.name.starts_with("value_head"))
        {
            parameter.var.set(&(parameter.var.ones_like()? * 0.1)?)?;
        }
        let values = critic.values(&batch, || batch.hidden(&model))?;
        let mut row = 0;
        for RolloutGroup { prompt, completions: responses } in &groups {
            for response in responses {
                // The state before token t is the prompt and t tokens, computed here without cache,
                // batch or branches.
                let text = [&prompt[..], &response.tokens].concat();
                let ids = candle_core::Tensor::new(&text[..], &CPU)?.unsqueeze(0)?;
                let known = model.hidden_states(&ids)?.squeeze(0)?;
                let expected = ((known.sum(1)? * 0.1)? + 0.1)?.to_dtype(DType::F32)?;
                let (first, len) = (prompt.len() - 1, response.tokens.len());
                let found = values.token_values.get(row)?.narrow(0, 0, len)?;
                assert_close(&found, &expected.narrow(0, first, len)?, 1e-4);
                let after = values.bootstrap_values.get(row)?;
                match response.terminated() {
                    true => assert_eq!(after.to_scalar::<f32>()?, 0.),
                    false => assert_close(&after, &expected.get(first + len)?, 1e-4),
                }
                row += 1;
            }
        }
    }
    Ok(())
}
