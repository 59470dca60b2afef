//! A model that learns: first from demonstrations (part 6), then from rewards (part 9).

use anyhow::Result;
use candle_core::Device;
use datasets::Example;
use grpo::step::gradients;
use grpo::{AdvantageConfig, Aggregation, Baseline, GrpoExperience, LossLevel, Objective};
use modern::{Checkpoint, GptModern, Sampler, SamplingStrategy};
use ppo::prompts::{prompt_ids, tokenize_prompts};
use ppo::reference::copy_parameters;
use ppo::{CompletionEvalConfig, PromptExample, RewardFn, RolloutConfig, ScoredRollouts, rollout};
use sft::base_model::{BaseModelConfig, finetune, pretrain};
use sft::{ChatTokenizer, TrainConfig};
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, clip_grad_norm};

use crate::answers::SumAnswer;
use crate::problems::MAX_NEW_TOKENS;

/// Answers to a prompt, which are compared with each other.
pub(crate) const GROUP_SIZE: usize = 16;
/// Demonstrations in a step of fine-tuning.
pub(crate) const BATCH_SIZE: usize = 64;
/// Size of the model; it starts from random weights.
const MODEL: BaseModelConfig = BaseModelConfig { n_layer: 2, n_head: 4, n_embd: 64, steps: 0 };

/// Model that learns from demonstrations.
pub(crate) struct Finetuned {
    checkpoint: Checkpoint,
    chat_tokenizer: ChatTokenizer,
}

/// Policy under training, a copy of a fine-tuned model.
pub(crate) struct Policy<'a> {
    model: GptModern,
    /// View of the same weights, for sampling.
    rollout_model: GptModern,
    pub(crate) parameters: Parameters,
    optimizer: AdamW,
    chat_tokenizer: &'a ChatTokenizer,
}

/// Model that has learned from the `demonstrations` of each stage, a pair of examples and peak
/// learning rate, in one epoch.
pub(crate) fn finetuned(
    stages: [(Vec<Example>, f64); 2],
    seed: u64,
    device: &Device,
) -> Result<Finetuned> {
    let mut checkpoint = pretrain(MODEL, seed, device)?;
    for (examples, peak_lr) in stages {
        let steps = examples.len() / BATCH_SIZE;
        let config = TrainConfig::with_defaults(BATCH_SIZE, steps, peak_lr, seed);
        checkpoint = finetune(checkpoint, &examples, &config)?;
    }
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    Ok(Finetuned { checkpoint, chat_tokenizer })
}

impl Finetuned {
    pub(crate) fn policy(&self) -> Result<Policy<'_>> {
        let config = self.checkpoint.model.config();
        let mut parameters = copy_parameters(config, &self.checkpoint.parameters)?;
        let optimizer = AdamWConfig { beta2: 0.95, weight_decay: 0., ..AdamWConfig::default() };
        Ok(Policy {
            model: GptModern::new(config, parameters.root())?,
            rollout_model: GptModern::new(config, parameters.for_inference().root())?,
            optimizer: AdamW::new(&parameters, optimizer)?,
            parameters,
            chat_tokenizer: &self.chat_tokenizer,
        })
    }
}

impl Policy<'_> {
    /// A step of GRPO: answers, their rewards, the advantages within each group, the gradient.
    /// Returns the answers.
    pub(crate) fn step(
        &mut self,
        problems: Vec<Example>,
        reward_fn: &mut RewardFn,
        lr: f64,
        rng: &mut Rng,
    ) -> Result<Vec<SumAnswer>> {
        let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
        let stop_tokens = self.chat_tokenizer.stop_token_ids().to_vec();
        let config = RolloutConfig::new(GROUP_SIZE, sampler, MAX_NEW_TOKENS, stop_tokens);
        let prompts = self.prompts(problems)?;
        let groups = rollout(&self.rollout_model, &prompt_ids(&prompts), &config, rng)?;
        let rollouts = ScoredRollouts::new(groups, &prompts, self.chat_tokenizer, reward_fn, rng)?;

        // A = r − mean of the group; every token of an answer gets it (Dr. GRPO).
        let advantage = AdvantageConfig {
            baseline: Baseline::GroupMean,
            loss_aggregation: Aggregation::Constant,
            ..AdvantageConfig::with_defaults()
        };
        let experience = GrpoExperience::from_rollouts(rollouts, &config, &advantage, 0.)?;

        // loss = −Σ ρ A / (answers × most tokens); ρ = π / π_old is 1 in the only update
        let objective = Objective {
            level: LossLevel::Token,
            clip_range: None,
            kl: None,
            importance_sampling_cap: None,
        };
        let batches =
            experience.micro_batches(&objective, &self.rollout_model, None, prompts.len())?;
        let (loss, _) = gradients(&self.model, &self.parameters, &batches, &objective)?;
        if let Some(mut grads) = loss.grads {
            clip_grad_norm(&mut grads, &self.parameters, 1.)?;
            self.optimizer.step(&grads, lr)?;
        }
        Ok(SumAnswer::of_groups(&prompts, &experience))
    }

    /// One sampled answer to each of `problems`.
    pub(crate) fn answers(&self, problems: &[Example], rng: &mut Rng) -> Result<Vec<SumAnswer>> {
        let prompts = self.prompts(problems.to_vec())?;
        let config = CompletionEvalConfig {
            chat_tokenizer: self.chat_tokenizer,
            max_new_tokens: MAX_NEW_TOKENS,
            batch_size: 256,
        };
        let sampling = SamplingStrategy::new(1., None, None, None);
        let mut unrewarded: Box<RewardFn> = Box::new(|inputs, _| Ok(vec![0.; inputs.len()]));
        let model = &self.rollout_model;
        let completions =
            config.generate_and_score(model, &prompts, sampling, &mut *unrewarded, rng)?;
        let answers = prompts.iter().zip(completions);
        Ok(answers.map(|(prompt, c)| SumAnswer::new(&prompt.example, c.text, c.n_tokens)).collect())
    }

    fn prompts(&self, problems: Vec<Example>) -> Result<Vec<PromptExample>> {
        let context_len = self.model.config().context_len;
        Ok(tokenize_prompts(problems, self.chat_tokenizer, context_len, MAX_NEW_TOKENS)?.0)
    }
}
