//! 8.5: a step of both optimizers equals one computed from the written-out loss alone.

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use modern::{FinishReason, GptModern};
use tensor_core::ops::log_softmax;
use tensor_core::testing::assert_close;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward};

use super::CPU;
use super::small_run::{actor_critic, chat_tokenizer, config};
use crate::losses::{Clip, LossWeights};
use crate::step::update;
use crate::{
    ActorCritic, Critic, CriticBackbone, PpoConfig, PpoExperience, PpoUpdateConfig, RolloutGroup,
    SampledCompletion,
};

/// Per completion: prompt, tokens, and for each token the rise of its log-probability since
/// sampling, its old value, its advantage and its return.
type Row = (&'static [u32], &'static [u32], [[f64; 2]; 4]);
const ROWS: [Row; 3] = [
    (&[5, 6, 7], &[8, 9], [[0.5, -0.5], [-3., -0.6], [1., 2.], [3., 0.3]]),
    (&[5, 6, 7], &[10, 11], [[0.4, -0.4], [-0.3, 0.05], [-1.5, -0.5], [-1., -0.2]]),
    (&[12, 13], &[14, 15], [[0.05, 0.3], [0.5, 3.], [0.7, -0.8], [0.4, -3.]]),
];

/// Loss of all rows and the number of clipped tokens, from the texts alone, without a batch, a mask
/// or a function of this part.
fn loss_by_hand(policy: &GptModern, critic: &Critic) -> Result<(Tensor, [f64; 2], Vec<f32>)> {
    let Critic::Separate(trunk, head) = critic else {
        unreachable!("the critic has a separate backbone")
    };
    let (mut losses, mut clipped, mut drawn) = (Vec::new(), [0.; 2], Vec::new());
    for (prompt, tokens, [rises, expected, advantages, returns]) in ROWS {
        let text =
            Tensor::new(&[prompt, tokens].concat()[..prompt.len() + 1], &CPU)?.unsqueeze(0)?;
        let logits = policy.forward(&text)?.squeeze(0)?.narrow(0, prompt.len() - 1, 2)?; // (2, V)
        let log_all = log_softmax(&logits)?;
        let values = head.forward(&trunk.hidden_states(&text)?.squeeze(0)?)?;
        for t in 0..2 {
            let log_prob = log_all.get(t)?.get(tokens[t] as usize)?; // ()
            let now = log_prob.detach().to_scalar::<f32>()?;
            drawn.push(now - rises[t] as f32);
            let (ratio, a) = (rises[t].exp(), advantages[t]);
            // Moved past the clip in the direction of the advantage: no gradient.
            let out = (a > 0. && ratio > 1.2) || (a < 0. && ratio < 0.8);
            clipped[0] += f64::from(u8::from(!(0.8..=1.2).contains(&ratio)));
            let surrogate = ((&log_prob - f64::from(now))?.exp()? * (-ratio * a))?;
            let surrogate = if out {
                Tensor::new(-ratio.clamp(0.8, 1.2) * a, &CPU)?.to_dtype(DType::F32)?
            } else {
                surrogate
            };
            let value = values.get(prompt.len() - 1 + t)?;
            let v = f64::from(value.detach().to_scalar::<f32>()?);
            let near = v.clamp(expected[t] - 0.2, expected[t] + 0.2);
            // Clipped value: no gradient.
            let held = (near - returns[t]).powi(2) > (v - returns[t]).powi(2);
            clipped[1] += f64::from(u8::from(held));
            let value = match held {
                true => Tensor::new((0.5 * (near - returns[t]).powi(2)) as f32, &CPU)?,
                false => ((value - returns[t])?.sqr()? * 0.5)?,
            };
            let row = log_all.get(t)?;
            let entropy = (row.exp()? * &row)?.sum_all()?.neg()?;
            losses.push(((surrogate + (value * 0.7)?)? - (entropy * 0.3)?)?);
        }
    }
    Ok((Tensor::stack(&losses, 0)?.mean_all()?, clipped, drawn))
}

fn experience_by_hand(drawn: &[f32]) -> Result<PpoExperience> {
    let group = |number: usize| {
        let response = |(i, (_, tokens, _)): (usize, &Row)| SampledCompletion {
            tokens: tokens.to_vec(),
            log_probs: drawn[2 * i..2 * i + 2].to_vec(),
            allowed_tokens: Vec::new(),
            finish_reason: FinishReason::Length,
        };
        let rows = ROWS.iter().enumerate().filter(|(i, _)| (*i < 2) == (number == 0));
        RolloutGroup {
            prompt: ROWS[2 * number].0.to_vec(),
            completions: rows.map(response).collect(),
        }
    };
    let laid_out = |of: usize| {
        let figures = ROWS.iter().flat_map(|(_, _, figures)| figures[of].map(|x| x as f32));
        Tensor::from_iter(figures.collect::<Vec<f32>>(), &CPU)?.reshape((3, 2))
    };
    Ok(PpoExperience {
        groups: vec![group(0), group(1)],
        completion_texts: Vec::new(),
        rewards: vec![0.; 3],
        mask: Tensor::ones((3, 2), DType::F32, &CPU)?,
        old_log_probs: Tensor::new(drawn, &CPU)?.reshape((3, 2))?,
        values: laid_out(1)?,
        advantages: laid_out(2)?,
        returns: laid_out(3)?,
        kl_per_completion: 0.,
        kl_per_token: 0.,
    })
}

/// Optimizer with ε = 1, whose steps are about as long as the gradients, so that clipping and
/// learning rates show in them.
fn with_long_memory(config: &PpoConfig) -> Result<ActorCritic> {
    let mut actor_critic = actor_critic(&chat_tokenizer()?, CriticBackbone::Separate, config)?;
    let optimizer = AdamWConfig { eps: 1., weight_decay: 0., ..AdamWConfig::default() };
    for train_state in [&mut actor_critic.policy, &mut actor_critic.critic] {
        train_state.optimizer = AdamW::new(&train_state.parameters, optimizer)?.into();
    }
    let head = actor_critic.critic.parameters.get("value_head.weight").expect("a head");
    head.var.set(&Rng::new(4).normal_tensor(head.var.shape(), 0.5, DType::F32, &CPU)?)?;
    Ok(actor_critic)
}

#[test]
fn a_ppo_step_equals_the_loss_computed_by_hand() -> Result<()> {
    let config = config(1, chat_tokenizer()?.eos_token_id());
    let mut actor_critic = with_long_memory(&config)?;
    let models = actor_critic.models()?;
    let (loss, clipped, drawn) = loss_by_hand(&models.policy, &models.critic)?;
    let grads = backward(&loss)?;
    let [rate, critic_rate, most] = [0.3, 0.7, 0.02];
    let stepped = |parameters: &Parameters, rate: f64| -> Result<(f64, Vec<Tensor>)> {
        let with_grad =
            || parameters.iter().filter_map(|p| Some((p, grads.get(p.var.as_tensor())?)));
        let squares =
            with_grad().map(|(_, g)| Ok(f64::from(g.sqr()?.sum_all()?.to_scalar::<f32>()?)));
        let norm = squares.sum::<Result<f64>>()?.sqrt();
        let step = |(p, g): (&tensor_core::Parameter, &Tensor)| {
            let g = (g * (most / norm).min(1.))?;
            p.var.as_detached_tensor() - ((&g / (g.abs()? + 1.)?)? * rate)?
        };
        Ok((norm, with_grad().map(step).collect::<candle_core::Result<_>>()?))
    };
    let (norm, policy) = stepped(&actor_critic.policy.parameters, rate)?;
    let (critic_norm, critic) = stepped(&actor_critic.critic.parameters, critic_rate)?;
    assert!(norm > most && critic_norm > most, "both are clipped: {norm} {critic_norm}");

    let update_config = PpoUpdateConfig {
        ppo_epochs: 1,
        n_minibatches: 1,
        clip_range: Clip::symmetric(0.2),
        value_clip_range: Some(0.2),
        loss_weights: LossWeights { value_coef: 0.7, entropy_coef: 0.3 },
        max_grad_norm: most,
        ..config.update
    };
    let config =
        PpoConfig { update: update_config, critic_lr_multiplier: critic_rate / rate, ..config };
    let experience = experience_by_hand(&drawn)?;
    let rng = &mut Rng::new(2);
    let found = update(&mut actor_critic, &models, &experience, &config, rate, None, rng)?;
    let near = |a: f64, b: f64| assert_close(a, b, 1e-4);
    near(found.grad_norm, norm);
    near(found.critic_grad_norm, critic_norm);
    near(found.clip_fraction, clipped[0] / 6.);
    near(found.value_clip_fraction, clipped[1] / 6.);
    assert!(clipped[0] >= 3. && clipped[1] >= 1., "{clipped:?}");
    let total = found.policy_loss + 0.7 * found.value_loss - 0.3 * found.entropy;
    near(total, f64::from(loss.detach().to_scalar::<f32>()?));
    for (train_state, expected) in [(&actor_critic.policy, policy), (&actor_critic.critic, critic)]
    {
        for (parameter, expected) in train_state.parameters.iter().zip(expected) {
            tensor_core::testing::assert_close(parameter.var.as_detached_tensor(), &expected, 1e-5);
        }
    }
    Ok(())
}
