//! How good a model is at a task: by its likeliest completions, and by how often one of k drawn ones is right.

use anyhow::{Result, ensure};
use modern::GptModern;
use modern::sampler::Choice;
use ppo::answers::{Found, figures};
use ppo::experience::texts;
use ppo::{Answer, Asking, Question, RolloutConfig, Scorer, rollout};
use serde::Serialize;
use tensor_core::Rng;

use crate::{Task, pass_at_k};

/// What a model's likeliest completions are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Problems.
    pub n: usize,
    /// The share that is right, in the form that the task wants.
    pub pass_at_1: f64,
    /// The share that is right whatever its form: what the model knows, whether or not it can say it as it is wanted.
    pub form_forgiven: f64,
    /// Mean reward.
    pub reward_mean: f64,
    /// Mean length in tokens.
    pub length_mean: f64,
    /// The share that the model ended itself.
    pub eos_rate: f64,
}

/// How a model is examined.
#[derive(Debug, Clone, Copy)]
pub struct Exam<'a> {
    /// What is right.
    pub task: Task,
    /// How problems are put.
    pub asking: Asking<'a>,
}

impl Exam<'_> {
    /// The likeliest completions of `model`, an inference twin, to `questions`, and what they are worth.
    ///
    /// # Errors
    /// When there is no question.
    pub fn greedy(
        &self,
        model: &GptModern,
        questions: &[Question],
        scorer: &mut Scorer,
    ) -> Result<(Evaluation, Vec<Answer>)> {
        ensure!(!questions.is_empty(), "there is no problem to evaluate");
        let rng = &mut Rng::new(0);
        let answers = self.asking.answers(model, questions, Choice::Greedy, scorer, rng)?;
        let share = |right: fn(Task, &str, &str) -> bool| {
            let each = questions.iter().zip(&answers);
            let right = each.filter(|(question, answer)| {
                right(self.task, &answer.text, &question.example.response)
            });
            right.count() as f64 / answers.len() as f64
        };
        let Found { n, reward_mean, length_mean, eos_rate, .. } = figures(questions, &answers);
        let (pass_at_1, form_forgiven) = (share(Task::is_right), share(Task::forgives));
        let evaluation =
            Evaluation { n, pass_at_1, form_forgiven, reward_mean, length_mean, eos_rate };
        Ok((evaluation, answers))
    }

    /// pass@k of `config.samples` completions that are drawn to each of `questions`, for each of `ks`.
    ///
    /// # Errors
    /// When a k is larger than the number of completions, or there is no question.
    pub fn sampled(
        &self,
        model: &GptModern,
        questions: &[Question],
        config: &RolloutConfig,
        ks: &[usize],
        rng: &mut Rng,
    ) -> Result<Vec<f64>> {
        let n = config.samples;
        ensure!(!questions.is_empty(), "there is no problem to evaluate");
        let enough = ks.iter().all(|k| (1..=n).contains(k));
        ensure!(enough, "pass@k needs at least k completions; there are {n}");
        let mut totals = vec![0.; ks.len()];
        for questions in questions.chunks((self.asking.batch_size / n).max(1)) {
            let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.prompt.clone()).collect();
            let groups = rollout(model, &prompts, config, rng)?;
            let texts = texts(&groups, self.asking.speech)?;
            for (question, texts) in questions.iter().zip(texts.chunks(n)) {
                let is_right =
                    |text: &&String| self.task.is_right(text, &question.example.response);
                let right = texts.iter().filter(is_right).count();
                let each = totals.iter_mut().zip(ks);
                each.for_each(|(total, &k)| *total += pass_at_k(n, right, k));
            }
        }
        let problems = questions.len() as f64;
        Ok(totals.into_iter().map(|total| total / problems).collect())
    }
}
