//! 8.4 A look at the policy: its likeliest answers to validation questions, which it does not learn from.

use anyhow::Result;
use modern::sampler::Choice;
use modern::{End, GenerateConfig, GptModern, Markers, Sampler, generate};
use serde_json::json;
use sft::metrics::{exact_match, same_words};
use sft::{Outputs, Speech, Tuning};
use tensor_core::Rng;

use crate::prompts::Question;
use crate::run_log::RunLog;
use crate::scorer::{Reply, Scorer};

/// What questions are asked, and how.
#[derive(Debug)]
pub struct Exam<'a> {
    /// What is asked. The run may be ended by it, so results are reported of others.
    pub questions: &'a [Question],
    /// How answers are read.
    pub speech: &'a Speech,
    /// Longest answer, in tokens.
    pub max_new_tokens: usize,
    /// Any of these ends an answer.
    pub stop: &'a [u32],
    /// Questions at a time.
    pub batch_size: usize,
    /// Steps between two looks; 0 for one at the end.
    pub interval: usize,
    /// Mean score at which the run ends.
    pub stop_at: Option<f64>,
}

/// An answer, and what it scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// In words.
    pub text: String,
    /// Its length in tokens, the end included.
    pub length: usize,
    /// Whether it ended itself.
    pub ended: bool,
    /// Its score.
    pub score: f64,
}

/// How well questions were answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Questions.
    pub n: usize,
    /// The mean score.
    pub reward_mean: f64,
    /// Share of answers that are the wanted one; of questions without one, nothing.
    pub exact_match: Option<f64>,
    /// The same with case and punctuation forgiven.
    pub form_forgiven: Option<f64>,
    /// In tokens.
    pub length_mean: f64,
    /// Share of answers that ended themselves.
    pub eos_rate: f64,
}

/// The answers of `model`, an inference twin, to `questions`, their tokens chosen by `choice`.
///
/// # Errors
/// When a prompt fills the context, and those of `scorer`.
pub fn answers(
    model: &GptModern,
    exam: &Exam<'_>,
    choice: Choice,
    scorer: &mut Scorer,
    rng: &mut Rng,
) -> Result<Vec<Answer>> {
    let sampler = Sampler::new(choice);
    let config = GenerateConfig::new(model, sampler, exam.max_new_tokens, exam.stop.to_vec());
    let mut all = Vec::with_capacity(exam.questions.len());
    for questions in exam.questions.chunks(exam.batch_size.max(1)) {
        let prompts: Vec<Vec<u32>> = questions.iter().map(|one| one.prompt.clone()).collect();
        for written in generate(model, &prompts, &config, rng, |_, _| Ok(()))? {
            let text = exam.speech.tokenizer.decode(&written.tokens, Markers::Hidden)?;
            let (length, ended) = (written.tokens.len(), written.end == End::Stop);
            all.push(Answer { text, length, ended, score: 0. });
        }
    }
    let each = exam.questions.iter().zip(&all);
    let replies: Vec<Reply<'_>> = each
        .map(|(question, Answer { text, ended, .. })| Reply {
            example: &question.example,
            text,
            ended: *ended,
        })
        .collect();
    let scores = scorer(&replies, rng)?;
    all.iter_mut().zip(scores).for_each(|(answer, score)| answer.score = score);
    Ok(all)
}

/// The figures of these answers to `questions`.
pub fn figures(questions: &[Question], answers: &[Answer]) -> Found {
    let n = answers.len();
    let mean = |of: &dyn Fn(&Answer) -> f64| answers.iter().map(of).sum::<f64>() / n.max(1) as f64;
    let known = questions.iter().any(|one| !one.example.response.is_empty());
    let share = |same: fn(&str, &str) -> bool| {
        let each = answers.iter().zip(questions);
        let right =
            each.filter(|(answer, question)| same(&answer.text, &question.example.response));
        known.then(|| right.count() as f64 / n.max(1) as f64)
    };
    Found {
        n,
        reward_mean: mean(&|answer| answer.score),
        exact_match: share(exact_match),
        form_forgiven: share(same_words),
        length_mean: mean(&|answer| answer.length as f64),
        eos_rate: mean(&|answer| f64::from(u8::from(answer.ended))),
    }
}

impl Exam<'_> {
    /// Whether there is one after step `step`.
    pub fn due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Looks at `twin`, an inference twin of `policy`, which is saved if it is the best so far, or good enough.
    ///
    /// # Errors
    /// When a file cannot be written, and those of `scorer`.
    pub fn sit(
        &self,
        twin: &GptModern,
        policy: &mut Tuning,
        scorer: &mut Scorer,
        outputs: &Outputs<'_>,
        log: &mut RunLog,
    ) -> Result<Found> {
        let mut rng = Rng::new(policy.state.step as u64);
        let answers = log.pause(|| answers(twin, self, Choice::Greedy, scorer, &mut rng))?;
        let found = figures(self.questions, &answers);
        let Found { reward_mean, exact_match, form_forgiven, length_mean, eos_rate, .. } = found;
        let mut said = format!("length {length_mean:.1}, ended {eos_rate:.3}");
        if let (Some(exact), Some(forgiven)) = (exact_match, form_forgiven) {
            said = format!("exact match {exact:.3}, with the form forgiven {forgiven:.3}, {said}");
        }
        let figures = json!({
            "val_exact_match": exact_match, "val_form_forgiven": form_forgiven, "val_length": length_mean,
            "val_eos_rate": eos_rate,
        });
        log.validation(policy.state.step, reward_mean, &said, figures)?;
        let state = &mut policy.state;
        state.passed = self.stop_at.is_some_and(|enough| reward_mean >= enough);
        // The best is the smallest, as of a loss.
        if state.passed || state.best.is_none_or(|best| -reward_mean < best) {
            state.best = Some(-reward_mean);
            outputs.save_model(policy)?;
        }
        Ok(found)
    }
}
