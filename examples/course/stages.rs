//! The stages in order. Most of them run a command of a part, which can also be run alone.

use std::path::Path;

use anyhow::Result;

use crate::course::CourseRun;
use crate::stage::StageRecord;
use crate::training_stages::{self, KlPenalty};
use crate::{attention, base, scoreboard};

/// A stage: the name of its folder, its title and idea in the report, what to read about it, and
/// the stages it needs.
pub(crate) struct CourseStage {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) idea: &'static str,
    /// Files of the repository to read next.
    pub(crate) reading: &'static [&'static str],
    pub(crate) prerequisites: &'static [&'static str],
    pub(crate) run: fn(&CourseRun, &Path) -> Result<StageRecord>,
}

/// All stages.
pub(crate) const STAGES: [CourseStage; 12] = [
    CourseStage {
        name: "attention",
        title: "Attention",
        idea: "Attention lets a token read from other tokens. Two of these heads have hand-set \
               weights, so that each does one thing that its map shows; two are baselines.",
        reading: &["crates/part_1_attention/README.md", "book/src/01_attention.md"],
        prerequisites: &[],
        run: attention::run,
    },
    CourseStage {
        name: "tokens",
        title: "Tokenization",
        idea: "Byte-pair encoding merges the most frequent pairs until common words are single \
               tokens. Digits stay separate, because a model that adds numbers must see them.",
        reading: &["crates/part_4_scaling/README.md"],
        prerequisites: &[],
        run: base::train_tokenizer,
    },
    CourseStage {
        name: "base",
        title: "Pretraining",
        idea: "A modern transformer with half a million parameters learns to predict the next \
               token of little stories and of lines that count up and down. Its training text \
               contains no sums.",
        reading: &["crates/part_3_modern/README.md", "crates/part_4_scaling/README.md"],
        prerequisites: &["tokens"],
        run: base::pretrain,
    },
    CourseStage {
        name: "sft",
        title: "Supervised fine-tuning",
        idea: "The model is trained on questions with answers; only the tokens of the answers are \
               in the loss. The result is imperfect in two ways. In form: in five of twelve \
               phrasings, most demonstrations end with a full stop, though the task asks for the \
               bare integer. In skill: training stops while many sums are still wrong.",
        reading: &["crates/part_6_sft/README.md"],
        prerequisites: &["base"],
        run: training_stages::sft,
    },
    CourseStage {
        name: "reward",
        title: "Reward model",
        idea: "The fine-tuned model gets a scalar reward head in place of the output head. It is \
               trained on pairs of a right answer and a near miss to give the right answer the \
               higher reward.",
        reading: &["crates/part_7_reward/README.md"],
        prerequisites: &["sft"],
        run: training_stages::reward,
    },
    CourseStage {
        name: "dpo",
        title: "Preferences without a reward model: DPO",
        idea: "The fine-tuned model learns from the reward model's pairs directly: a right answer \
               is to gain probability against a near miss, measured from the fine-tuned model. The \
               pairs are given; the model's own mistakes are not among them.",
        reading: &["crates/part_10_dpo/README.md"],
        prerequisites: &["sft"],
        run: training_stages::dpo,
    },
    CourseStage {
        name: "iterated-dpo",
        title: "Iterated DPO",
        idea: "The same loss on pairs of the model's own answers: in every step it samples, the \
               rule says which are right, and a right and a wrong answer to the same question make \
               a pair.",
        reading: &["crates/part_10_dpo/README.md"],
        prerequisites: &["sft"],
        run: training_stages::iterated_dpo,
    },
    CourseStage {
        name: "ppo-rm-no-kl",
        title: "PPO with the reward model, without a KL penalty",
        idea: "The classical pipeline: the fine-tuned model samples answers, the reward model \
               scores them, PPO raises the score. Nothing keeps the policy near the model that the \
               reward model was made for (β = 0), so it finds what the reward model likes.",
        reading: &["crates/part_8_ppo/README.md", "book/src/12_is_it_better.md"],
        prerequisites: &["sft", "reward"],
        run: |course, folder| training_stages::ppo_by_reward_model(course, folder, KlPenalty::None),
    },
    CourseStage {
        name: "ppo-rm",
        title: "PPO with the reward model and a KL penalty",
        idea: "The same run with β = 0.1: each nat of distance from the fine-tuned model costs a \
               tenth of a point of the reward model.",
        reading: &["crates/part_8_ppo/README.md"],
        prerequisites: &["sft", "reward"],
        run: |course, folder| {
            training_stages::ppo_by_reward_model(course, folder, KlPenalty::Weighted)
        },
    },
    CourseStage {
        name: "ppo",
        title: "Reinforcement learning by a rule: PPO",
        idea: "The fine-tuned model samples completions and is rewarded for an exact match. A \
               critic estimates the expected reward: completions above it become more likely. A \
               KL penalty keeps the policy close to the fine-tuned model.",
        reading: &["crates/part_8_ppo/README.md"],
        prerequisites: &["sft"],
        run: training_stages::ppo,
    },
    CourseStage {
        name: "grpo",
        title: "Reinforcement learning by a rule: GRPO",
        idea: "The same initial model, task and reward as for PPO, without a critic: each \
               completion is compared with the other completions of its prompt. That is cheaper, \
               so in about the same time it draws more answers.",
        reading: &["crates/part_9_grpo/README.md"],
        prerequisites: &["sft"],
        run: training_stages::grpo,
    },
    CourseStage {
        name: "scoreboard",
        title: "Evaluation",
        idea: "All models are evaluated on the same sums and differences.",
        reading: &["book/src/12_is_it_better.md"],
        prerequisites: &[
            "base",
            "sft",
            "reward",
            "dpo",
            "iterated-dpo",
            "ppo-rm-no-kl",
            "ppo-rm",
            "ppo",
            "grpo",
        ],
        run: scoreboard::run,
    },
];

impl CourseStage {
    /// Number and title.
    pub(crate) fn heading(&self) -> String {
        let number = STAGES.iter().position(|stage| stage.name == self.name).map_or(0, |i| i + 1);
        format!("== {number}/{} {}", STAGES.len(), self.title)
    }
}
