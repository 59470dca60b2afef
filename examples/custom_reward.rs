//! A reward of one's own: GRPO with a Rust closure that gives 1 to the completion `7`. `part_9
//! train --reward-program` does the same with a program in any language.

use anyhow::Result;
use candle_core::Device;
use datasets::Example;
use grpo::training::train_in_memory;
use grpo::{GrpoConfig, GrpoEvaluator, GrpoValidator, Task};
use modern::{Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::{CompletionEvalConfig, RewardFn, RolloutConfig};
use scaling::LrSchedule;
use sft::base_model::{BaseModelConfig, finetune, pretrain};
use sft::{ChatTokenizer, TrainConfig};

const SEED: u64 = 1;
const MAX_NEW_TOKENS: usize = 4;

fn main() -> Result<()> {
    // A small model that answers each of ten prompts with any digit.
    let base = BaseModelConfig { n_layer: 1, n_head: 2, n_embd: 32, steps: 0 };
    let example =
        |i: usize| Example::new(format!("Say a number, {}.", i / 10), (i % 10).to_string());
    let examples: Vec<Example> = (0..100).map(example).collect();
    let sft_config = TrainConfig::with_defaults(50, 100, 1e-2, SEED);
    let mut checkpoint = finetune(pretrain(base, SEED, &Device::Cpu)?, &examples, &sft_config)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let model = *checkpoint.model.config();
    let (prompts, _) =
        tokenize_prompts(examples, &chat_tokenizer, model.context_len, MAX_NEW_TOKENS)?;

    // The reward: a number for each completion of the batch.
    let mut reward_fn: Box<RewardFn> = Box::new(|inputs, _rng| {
        Ok(inputs.iter().map(|input| f64::from(u8::from(input.completion == "7"))).collect())
    });

    let rollout = RolloutConfig::new(
        8,
        Sampler::new(SamplingStrategy::new(1., None, None, None)),
        MAX_NEW_TOKENS,
        chat_tokenizer.stop_token_ids().to_vec(),
    );
    let config = GrpoConfig::with_defaults(16, rollout, LrSchedule::cosine(1e-3, 30), SEED);
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 100,
    };
    let evaluator = GrpoEvaluator { task: Task::Prompts, eval_config };
    let validator = GrpoValidator { prompts: &prompts, evaluator, interval: 10, model_saver: None };
    let parameters = checkpoint.parameters;
    train_in_memory(&model, parameters, prompts.clone(), &config, &validator, &mut *reward_fn)?;
    Ok(())
}
