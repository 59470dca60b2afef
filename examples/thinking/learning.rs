//! The experiment: SFT on demonstrations, GRPO, and what is changed in the controls.

use anyhow::Result;
use candle_core::Device;
use datasets::Split;
use scaling::LrSchedule;
use tensor_core::Rng;

use crate::answers::{Means, SumAnswer};
use crate::policy::{BATCH_SIZE, Finetuned, finetuned};
use crate::problems::{Reward, curriculum, demonstrations, problems};

/// Length penalty: what is taken from the reward for each token.
pub(crate) const LENGTH_PENALTY: f64 = 0.03;
/// Sums in a step of GRPO.
pub(crate) const PROMPTS_PER_STEP: usize = 32;
/// Share of the demonstrations that are worked out. A batch has answers of similar length and its
/// loss is a mean over their tokens, so that a token of a worked answer, of 17, counts an eighth of
/// one of a short answer, of 2: a model works out a sixth to a third.
pub(crate) const WORKED_SHARE: f64 = 0.6;
/// Peak learning rate of GRPO.
const PEAK_LR: f64 = 5e-4;
/// Seed of the test problems, which all runs share.
const TEST_SEED: u64 = 0;

/// Numbers of steps, and of test problems.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    /// Steps of SFT on the curriculum.
    curriculum: usize,
    /// Steps of SFT on demonstrations of both kinds.
    demonstrations: usize,
    /// Steps of GRPO.
    grpo: usize,
    n_test: usize,
}

/// Demonstrations and reward of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) demonstrations: Demonstrations,
    reward: Reward,
}

/// Demonstrations before GRPO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demonstrations {
    /// The curriculum, then answers of both kinds.
    Worked,
    /// As many demonstrations, all of them short.
    Short,
}

/// The run that the page is about.
pub(crate) const MAIN: Variant = Variant {
    name: "length penalty 0.03",
    demonstrations: Demonstrations::Worked,
    reward: Reward::Correct { length_penalty: LENGTH_PENALTY },
};
/// Controls: one thing is changed in each.
pub(crate) const CONTROLS: [Variant; 4] = [
    Variant { name: "no length penalty", reward: Reward::Correct { length_penalty: 0. }, ..MAIN },
    Variant { name: "length penalty 0.2", reward: Reward::Correct { length_penalty: 0.2 }, ..MAIN },
    Variant { name: "no worked demonstrations", demonstrations: Demonstrations::Short, ..MAIN },
    Variant { name: "random reward", reward: Reward::Random, ..MAIN },
];

/// A run from the demonstrations to the last step of GRPO.
pub(crate) struct Run {
    pub(crate) variant: Variant,
    pub(crate) seed: u64,
    /// Answers that each step of GRPO learned from.
    pub(crate) train_answers: Vec<Vec<SumAnswer>>,
    /// Answers to the test problems before GRPO, after a third of it and after it.
    pub(crate) test_answers: [Vec<SumAnswer>; 3],
    pub(crate) n_parameters: usize,
}

impl Steps {
    pub(crate) const FULL: Self =
        Self { curriculum: 700, demonstrations: 300, grpo: 60, n_test: 700 };
    pub(crate) const QUICK: Self = Self { curriculum: 8, demonstrations: 8, grpo: 2, n_test: 40 };
}

impl Demonstrations {
    fn name(self) -> &'static str {
        match self {
            Self::Worked => "demonstrations",
            Self::Short => "short demonstrations",
        }
    }

    /// Model that has learned from them.
    pub(crate) fn finetune(self, steps: Steps, seed: u64, device: &Device) -> Result<Finetuned> {
        println!("\n== {}, seed {seed}", self.name());
        let mut rng = Rng::new(seed);
        let [n_first, n_second] = [steps.curriculum, steps.demonstrations].map(|n| BATCH_SIZE * n);
        let (first, second) = match self {
            Self::Worked => {
                (curriculum(n_first, &mut rng), demonstrations(n_second, WORKED_SHARE, &mut rng))
            }
            Self::Short => {
                (demonstrations(n_first, 0., &mut rng), demonstrations(n_second, 0., &mut rng))
            }
        };
        finetuned([(first, 3e-3), (second, 1e-3)], seed, device)
    }
}

impl Run {
    /// GRPO from the model `finetuned` on the demonstrations of `variant`.
    pub(crate) fn new(
        variant: Variant,
        finetuned: &Finetuned,
        steps: Steps,
        seed: u64,
    ) -> Result<Self> {
        println!("\n== {}, seed {seed}", variant.name);
        let (mut policy, mut rng) = (finetuned.policy()?, Rng::new(seed));
        let test_problems = problems(steps.n_test, Split::Test, &mut Rng::new(TEST_SEED));
        let before = policy.answers(&test_problems, &mut rng)?;
        let n_parameters = policy.parameters.iter().map(|p| p.var.elem_count()).sum();
        let mut test_answers = [before, Vec::new(), Vec::new()];
        let mut train_answers = Vec::new();
        let mut reward_fn = variant.reward.reward_fn();
        let schedule = LrSchedule::cosine(PEAK_LR, steps.grpo);
        for step in 1..=steps.grpo {
            let batch = problems(PROMPTS_PER_STEP, Split::Train, &mut rng);
            let answers = policy.step(batch, &mut *reward_fn, schedule.lr_at(step), &mut rng)?;
            if let Some(means) = Means::over(&answers, |_| true).filter(|_| step % 10 == 0) {
                let Means { accuracy, length, .. } = means;
                println!("step {step:2}: {:3.0} % right, {length:4.1} tokens", 100. * accuracy);
            }
            train_answers.push(answers);
            if step == steps.grpo.div_ceil(3) {
                test_answers[1] = policy.answers(&test_problems, &mut rng)?;
            }
        }
        test_answers[2] = policy.answers(&test_problems, &mut rng)?;
        Ok(Self { variant, seed, train_answers, test_answers, n_parameters })
    }

    /// Steps of GRPO before the answers to the test problems.
    pub(crate) fn test_steps(&self) -> [usize; 3] {
        [0, self.train_answers.len().div_ceil(3), self.train_answers.len()]
    }

    /// Means of the test answers that are `chosen`, before and after GRPO.
    pub(crate) fn before_and_after(
        &self,
        chosen: impl Fn(&SumAnswer) -> bool,
    ) -> [Option<Means>; 2] {
        [0, 2].map(|i| Means::over(&self.test_answers[i], &chosen))
    }
}
