//! How good a model is at a task: by its likeliest completions, and by how often one of k drawn ones is right.

use anyhow::{Result, ensure};
use modern::sampler::Choice;
use modern::{Continuation, End, GenerateConfig, GptModern, Markers, Sampler, generate};
use ppo::experience::texts;
use ppo::{Question, Reply, RolloutConfig, Scorer, rollout};
use serde::Serialize;
use sft::Speech;
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

/// A completion and what it is worth.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The completion.
    pub text: String,
    /// What it earns.
    pub reward: f64,
    /// Whether it is right.
    pub right: bool,
}

/// How a model is examined.
#[derive(Debug, Clone, Copy)]
pub struct Exam<'a> {
    /// What is right.
    pub task: Task,
    /// How it is spoken to.
    pub speech: &'a Speech,
    /// Any of these ends a completion.
    pub stop: &'a [u32],
    /// Longest completion, in tokens.
    pub max_new_tokens: usize,
    /// Completions that are written at a time.
    pub batch_size: usize,
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
    ) -> Result<(Evaluation, Vec<Judged>)> {
        ensure!(!questions.is_empty(), "there is no problem to evaluate");
        let sampler = Sampler::new(Choice::Greedy);
        let config = GenerateConfig::new(model, sampler, self.max_new_tokens, self.stop.to_vec());
        let mut judged = Vec::with_capacity(questions.len());
        let mut rng = Rng::new(0);
        let (mut forgiven, mut tokens, mut ended) = (0, 0, 0);
        for questions in questions.chunks(self.batch_size.max(1)) {
            let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.prompt.clone()).collect();
            let written = generate(model, &prompts, &config, &mut rng, |_, _| Ok(()))?;
            let mut texts = Vec::with_capacity(written.len());
            for (question, written) in questions.iter().zip(&written) {
                let text = self.speech.tokenizer.decode(&written.tokens, Markers::Hidden)?;
                forgiven += usize::from(self.task.forgives(&text, &question.example.response));
                tokens += written.tokens.len();
                ended += usize::from(written.end == End::Stop);
                texts.push(text);
            }
            let reply = |((question, text), written): ((_, _), &Continuation)| {
                let (question, text): (&Question, &String) = (question, text);
                Reply { example: &question.example, text, ended: written.end == End::Stop }
            };
            let replies: Vec<Reply<'_>> =
                questions.iter().zip(&texts).zip(&written).map(reply).collect();
            let scores = scorer(&replies, &mut rng)?;
            for ((question, text), reward) in questions.iter().zip(texts).zip(scores) {
                let right = self.task.is_right(&text, &question.example.response);
                judged.push(Judged { text, reward, right });
            }
        }
        let n = judged.len();
        let share = |count: usize| count as f64 / n as f64;
        let evaluation = Evaluation {
            n,
            pass_at_1: share(judged.iter().filter(|judged| judged.right).count()),
            form_forgiven: share(forgiven),
            reward_mean: judged.iter().map(|judged| judged.reward).sum::<f64>() / n as f64,
            length_mean: share(tokens),
            eos_rate: share(ended),
        };
        Ok((evaluation, judged))
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
        for questions in questions.chunks((self.batch_size / n).max(1)) {
            let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.prompt.clone()).collect();
            let groups = rollout(model, &prompts, config, rng)?;
            let texts = texts(&groups, self.speech)?;
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
