//! 10.4 On-policy distillation: the student answers, and the teacher says at every token what it
//! would have said (GKD, <https://arxiv.org/abs/2306.13649>; MiniLLM,
//! <https://arxiv.org/abs/2306.08543>).
//!
//! ```text
//! KL(T ‖ S) = Σ_v T(v) log(T(v)/S(v))     β = 0: forward, the student covers all of the teacher
//! KL(S ‖ T) = Σ_v S(v) log(S(v)/T(v))     β = 1: reverse, the student keeps to what it does well
//! JSD_β     = β KL(T ‖ M) + (1 − β) KL(S ‖ M),    M = β T + (1 − β) S         between the two
//! sampled   = log S(a) − log T(a) at the token a ~ S: one number estimates KL(S ‖ T)
//! ```
//!
//! A reward tells a completion one number at its end; a teacher tells every token V numbers. λ is
//! the share of rounds in which the student answers. In the others it reads the right answers, so
//! that it learns in contexts that it would not come to, and never in those that its own errors
//! lead to.
//!
//! The sampled estimate needs only the teacher's probability of the token itself, as an API may
//! give. Differentiated as it stands, its gradient is zero on average, since E[∇log S] = 0. Its
//! gradient has to be that of the expectation, E[(log S − log T) ∇log S]: the policy gradient of
//! part 8 with the reward log T − log S at every token.

use anyhow::Result;
use candle_core::{D, DType, Tensor};
use experiment::{RunLog, StepMetrics};
use modern::GptModern;
use ppo::RolloutGroup;
use ppo::log_probs::hidden_of_groups;
use scaling::accumulation::GradAccumulator;
use serde::Serialize;
use serde_json::json;
use tensor_core::clip_grad_norm;
use tensor_core::ops::{log_softmax, token_log_probs};

use crate::step::{DpoPolicy, TrainConfig};

/// Divergence of the student from the teacher.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Divergence {
    /// Generalized Jensen-Shannon divergence over the whole vocabulary, from the forward KL (β = 0)
    /// to the reverse KL (β = 1).
    Jsd {
        /// β.
        beta: f64,
    },
    /// Reverse KL, estimated at the sampled token.
    Sampled,
}

impl Divergence {
    /// Divergence at each of N tokens, (N), from the logits of student and teacher, (N, V) each,
    /// and the tokens themselves, (N).
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn per_token(
        self,
        student: &Tensor,
        teacher: &Tensor,
        tokens: &Tensor,
    ) -> candle_core::Result<Tensor> {
        // ANCHOR: per_token
        let Self::Jsd { beta } = self else {
            let log_prob = token_log_probs(student, tokens)?; // (N)
            let estimate = (&log_prob - token_log_probs(teacher, tokens)?)?.detach();
            // The value is the estimate; the gradient is estimate · ∇log S.
            return &estimate + (&estimate * (&log_prob - log_prob.detach())?)?;
        };
        let (student, teacher) = (log_softmax(student)?, log_softmax(teacher)?); // (N, V)
        match beta {
            0. => kl(&teacher, &student),
            1. => kl(&student, &teacher),
            // ANCHOR_END: per_token
            _ => {
                let mixture =
                    log_add_exp(&(&teacher + beta.ln())?, &(&student + (1. - beta).ln())?)?;
                (kl(&teacher, &mixture)? * beta)? + (kl(&student, &mixture)? * (1. - beta))?
            }
        }
    }
}

/// Takes the next step of the student `policy` on `groups`, with the mean divergence of their
/// tokens from `teacher`, which is built for inference. Each rank computes its share.
///
/// # Errors
/// When a text is longer than a context, the loss is not finite, or the log cannot be written.
pub fn distill_step(
    policy: &mut DpoPolicy,
    teacher: &GptModern,
    groups: &[RolloutGroup],
    (divergence, config): (Divergence, &TrainConfig),
    log: &mut RunLog,
) -> Result<()> {
    let step = policy.state.progress.step + 1;
    let n_targets: usize = groups.iter().map(RolloutGroup::n_tokens).sum();
    let (mut accumulator, mut reverse_kl) = (GradAccumulator::default(), None);
    let group_size = groups.first().map_or(1, |group| group.completions.len());
    policy.state.seed_dropout(config.seed);
    let ranks = &policy.state.ranks;
    let own = &groups[ranks.rows(groups.len())];
    for groups in own.chunks((config.batch_size / group_size).max(1)) {
        let model = &policy.models.training;
        let [losses, kl] = divergences(model, teacher, groups, divergence)?; // (N) each
        let loss = (losses.sum_all()? / n_targets as f64)?;
        accumulator.backward(&loss, &[&policy.state.parameters])?;
        let kl = kl.detach().sum_all()?.to_dtype(DType::F64)?;
        reverse_kl = Some(reverse_kl.map_or(Ok(kl.clone()), |sum: Tensor| sum + kl)?);
    }
    let reverse_kl: f64 = reverse_kl.map_or(Ok(0.), |sum| sum.to_scalar())?; // waits for the device
    let reverse_kl = ranks.gather(&reverse_kl)?.iter().sum::<f64>() / n_targets as f64;
    let (loss, mut grads) = accumulator.finish_part()?.sum(ranks, &[&policy.state.parameters])?;
    let grad_norm = clip_grad_norm(&mut grads, &policy.state.parameters, config.max_grad_norm)?;
    let lr = config.schedule.lr_at(step);
    let n_tokens = groups.iter().map(|group| group.prompt.len() + group.n_tokens()).sum();
    let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.check(&metrics)?;
    policy.state.optimizer.step(&grads, lr)?;
    policy.models.refresh(&mut policy.state.parameters)?;
    policy.state.progress.step = step;
    log.step(&metrics, json!({ "reverse_kl": reverse_kl }))
}

/// Divergence of `student` from `teacher` at each token of the completions of `groups`, (N), and
/// the reverse KL there, (N), without a gradient. The logits of both, (N, V), are computed for some
/// of the tokens at a time.
fn divergences(
    student: &GptModern,
    teacher: &GptModern,
    groups: &[RolloutGroup],
    divergence: Divergence,
) -> Result<[Tensor; 2]> {
    let hidden = hidden_of_groups(student, groups)?; // (N, C)
    let teacher_hidden = hidden_of_groups(teacher, groups)?.detach();
    let tokens = groups.iter().flat_map(|group| &group.completions).flat_map(|c| &c.tokens);
    let tokens = Tensor::from_iter(tokens.map(|&id| i64::from(id)), hidden.device())?;
    let teacher = teacher.clone();
    let all = student.map_logits(&hidden, move |rows, student| {
        let of_rows = |x: &Tensor| x.narrow(0, rows.start, rows.len());
        let teacher = teacher.logits(&of_rows(&teacher_hidden)?)?.to_dtype(student.dtype())?;
        let (teacher, tokens) = (teacher.detach(), of_rows(&tokens)?);
        let exact = Divergence::Jsd { beta: 1. };
        Ok(vec![
            divergence.per_token(student, &teacher, &tokens)?,
            exact.per_token(&student.detach(), &teacher, &tokens)?,
        ])
    })?;
    Ok([all[0].clone(), all[1].clone()])
}

/// KL(p ‖ q) of each row of log-probabilities: (N, V), (N, V) -> (N).
fn kl(p: &Tensor, q: &Tensor) -> candle_core::Result<Tensor> {
    (p.exp()? * (p - q)?)?.sum(D::Minus1)
}

/// log(eᵃ + eᵇ), elementwise, without overflow: (N, V), (N, V) -> (N, V).
fn log_add_exp(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    let max = a.maximum(b)?.detach();
    &max + ((a - &max)?.exp()? + (b - &max)?.exp()?)?.log()?
}
