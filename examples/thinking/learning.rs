//! The experiment: demonstrations, practice, and what is changed in the controls.

use anyhow::Result;
use candle_core::Device;
use datasets::Split;
use scaling::LrSchedule;
use tensor_core::Rng;

use crate::answers::{Means, SumAnswer};
use crate::policy::{BATCH_SIZE, Finetuned, finetuned};
use crate::problems::{Reward, demonstrations, lessons, problems};

/// Reward that a token of an answer costs.
pub(crate) const PRICE: f64 = 0.03;
/// Sums in a step of practice.
pub(crate) const PROMPTS_PER_STEP: usize = 32;
/// Share of the demonstrations that are worked out. A batch has answers of similar length and its
/// loss is a mean over their tokens, so that a token of a worked answer, of 17, counts an eighth of
/// one of a short answer, of 2: a model works out a sixth to a third.
pub(crate) const WORKED_SHARE: f64 = 0.6;
/// Peak learning rate of the practice.
const PEAK_LR: f64 = 5e-4;
/// Seed of the test problems, which all runs share.
const TEST_SEED: u64 = 0;

/// Numbers of steps, and of test problems.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    /// Steps on lessons.
    lessons: usize,
    /// Steps on demonstrations.
    demonstrations: usize,
    /// Steps of GRPO.
    practice: usize,
    n_test: usize,
}

/// Demonstrations and reward of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) demonstrations: Demonstrations,
    reward: Reward,
}

/// Demonstrations before the practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demonstrations {
    /// Lessons, then answers of both kinds.
    Worked,
    /// As many demonstrations, all of them short.
    Short,
}

/// The run that the page is about.
pub(crate) const PRACTISED: Variant = Variant {
    name: "a small price",
    demonstrations: Demonstrations::Worked,
    reward: Reward::Right { price: PRICE },
};
/// Controls: one thing is changed in each.
pub(crate) const CONTROLS: [Variant; 4] = [
    Variant { name: "no price", reward: Reward::Right { price: 0. }, ..PRACTISED },
    Variant { name: "a high price", reward: Reward::Right { price: 0.2 }, ..PRACTISED },
    Variant {
        name: "no worked demonstrations",
        demonstrations: Demonstrations::Short,
        ..PRACTISED
    },
    Variant { name: "a coin", reward: Reward::Coin, ..PRACTISED },
];

/// A run from the demonstrations to the last step of practice.
pub(crate) struct Run {
    pub(crate) variant: Variant,
    pub(crate) seed: u64,
    /// Answers that each step of practice learned from.
    pub(crate) practice: Vec<Vec<SumAnswer>>,
    /// Answers to the test problems before the practice, after a third of it and after it.
    pub(crate) tests: [Vec<SumAnswer>; 3],
    pub(crate) n_parameters: usize,
}

impl Steps {
    pub(crate) const FULL: Self =
        Self { lessons: 700, demonstrations: 300, practice: 60, n_test: 700 };
    pub(crate) const QUICK: Self = Self { lessons: 8, demonstrations: 8, practice: 2, n_test: 40 };
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
        let [n_lessons, n_mixed] = [steps.lessons, steps.demonstrations].map(|n| BATCH_SIZE * n);
        let (lessons, mixed) = match self {
            Self::Worked => {
                (lessons(n_lessons, &mut rng), demonstrations(n_mixed, WORKED_SHARE, &mut rng))
            }
            Self::Short => {
                (demonstrations(n_lessons, 0., &mut rng), demonstrations(n_mixed, 0., &mut rng))
            }
        };
        finetuned([(lessons, 3e-3), (mixed, 1e-3)], seed, device)
    }
}

impl Run {
    /// Practice of the model `finetuned` on the demonstrations of `variant`.
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
        let (mut tests, mut practice) = ([before, Vec::new(), Vec::new()], Vec::new());
        let mut reward_fn = variant.reward.reward_fn();
        let schedule = LrSchedule::cosine(PEAK_LR, steps.practice);
        for step in 1..=steps.practice {
            let batch = problems(PROMPTS_PER_STEP, Split::Train, &mut rng);
            let answers = policy.step(batch, &mut *reward_fn, schedule.lr_at(step), &mut rng)?;
            let Means { accuracy, length, .. } = Means::over(&answers, |_| true);
            practice.push(answers);
            if step % 10 == 0 {
                println!("step {step:2}: {:3.0} % right, {length:4.1} tokens", 100. * accuracy);
            }
            if step == steps.practice.div_ceil(3) {
                tests[1] = policy.answers(&test_problems, &mut rng)?;
            }
        }
        tests[2] = policy.answers(&test_problems, &mut rng)?;
        Ok(Self { variant, seed, practice, tests, n_parameters })
    }

    /// Steps of practice before the answers to the test problems.
    pub(crate) fn test_steps(&self) -> [usize; 3] {
        [0, self.practice.len().div_ceil(3), self.practice.len()]
    }

    /// Means of the test answers that are `chosen`, before and after the practice.
    pub(crate) fn before_and_after(&self, chosen: impl Fn(&SumAnswer) -> bool) -> [Means; 2] {
        [0, 2].map(|i| Means::over(&self.tests[i], &chosen))
    }
}
