//! Best of n and majority vote, held against enumeration; requests for a revised answer.

use anyhow::Result;
use candle_core::DType;
use datasets::Example;
use model_io::{ChatMessage, ModelConfig};
use modern::{GptModern, Sampler, SamplingStrategy};
use ppo::{PromptExample, RewardInput, RolloutConfig};
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, Rng};

use super::{CPU, chat_tokenizer};
use crate::best_of_n::{best_of_n, kl_bound, majority, majority_of_n};
use crate::revision::{AnswerPool, Reviser, ScoredAnswer};

#[test]
fn best_of_n_is_the_mean_over_all_subsets() {
    let (scores, values) = ([0.5, -1., 2., 2., 0.], [1., 0., 0., 1., 3.]);
    for n in 1..=5 {
        let (mut sum, mut count) = (0., 0.);
        for subset in 0u32..32 {
            let members: Vec<usize> = (0..5).filter(|i| subset >> i & 1 == 1).collect();
            if members.len() != n {
                continue;
            }
            let best = members.iter().map(|&i| scores[i]).fold(f64::NEG_INFINITY, f64::max);
            // Of the two with a score of 2, both or one may be in the subset.
            let ties: Vec<f64> = (0..5).filter(|&i| scores[i] == best).map(|i| values[i]).collect();
            sum += ties.iter().sum::<f64>() / ties.len() as f64;
            count += 1.;
        }
        assert_close(best_of_n(&scores, &values, n), sum / count, 1e-12);
    }
    assert_close(best_of_n(&scores, &scores, 5), 2., 1e-12);
}

#[test]
fn the_kl_of_best_of_n_on_distinct_completions_is_its_bound_at_most() {
    // The best of n of N equally likely completions has rank i with p_i = (i/N)ⁿ − ((i−1)/N)ⁿ.
    const N: usize = 1000;
    for n in [1, 2, 4, 64] {
        let share = |i: usize| (i as f64 / N as f64).powi(n as i32);
        let kl: f64 = (1..=N)
            .map(|i| share(i) - share(i - 1))
            .filter(|p| *p > 0.)
            .map(|p| p * (p * N as f64).ln())
            .sum();
        assert!(kl <= kl_bound(n) + 1e-9 && kl > kl_bound(n) - 0.01, "{n}: {kl}");
    }
}

#[test]
fn the_majority_answer_wins_and_of_equals_the_first() {
    let majority_of = |answers: &[&str]| {
        let answers: Vec<String> = answers.iter().map(|&answer| answer.into()).collect();
        answers[majority(&answers)].clone()
    };
    assert_eq!(majority_of(&["3", "5", "4", "5"]), "5");
    assert_eq!(majority_of(&["7", "8", "8", "7"]), "7");
}

#[test]
fn the_majority_of_n_is_a_mean_over_all_subsets_and_of_one_the_mean_value() {
    let answers: Vec<String> = ["53.", "53", "53", "53.", "53.", "7"].map(String::from).to_vec();
    let is_right = [0., 1., 1., 0., 0., 0.];
    let majority_of = |n: usize| majority_of_n(&answers, &is_right, n, 20_000, &mut Rng::new(3));
    for n in 1..=6 {
        let (mut sum, mut count) = (0., 0.);
        for subset in (0u32..64).filter(|subset| subset.count_ones() as usize == n) {
            let votes = |answer: &str| {
                (0..6).filter(|&i| subset >> i & 1 == 1 && answers[i] == answer).count()
            };
            let [wrong, right, other] = ["53.", "53", "7"].map(votes);
            let most = wrong.max(right).max(other);
            let n_winners = [wrong, right, other].iter().filter(|&&votes| votes == most).count();
            sum += if right == most { 1. / n_winners as f64 } else { 0. };
            count += 1.;
        }
        let tolerance = if n <= 2 || n == 6 { 1e-12 } else { 0.015 };
        assert_close(majority_of(n), sum / count, tolerance);
    }
    assert_close(majority_of(1), 1. / 3., 1e-12); // exact match
    assert_eq!(majority_of(4), majority_of(4), "the subsets are those of the seed");
}

#[test]
fn a_revision_shows_the_best_and_the_worst_answer_and_needs_a_difference() {
    let question = Example::new("Q?", "");
    let prompt = PromptExample { example: question.clone(), prompt: vec![1] };
    let mut pool = AnswerPool::new(prompt);
    assert_eq!(pool.revision("not {worst}"), question.prompt);
    let add = |pool: &mut AnswerPool, text: &str, score: f64| {
        pool.answers.push(ScoredAnswer { text: text.into(), score });
    };
    add(&mut pool, "a", 1.);
    add(&mut pool, "b", 1.);
    assert_eq!(pool.revision("not {worst}"), question.prompt);
    add(&mut pool, "c", -2.);
    add(&mut pool, "d", 3.);
    let messages =
        [question.prompt.clone(), vec![ChatMessage::assistant("d"), ChatMessage::user("not c")]];
    assert_eq!(pool.revision("not {worst}"), messages.concat());
}

#[test]
fn the_judge_reads_revised_answers_after_the_question_alone() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let question = Example::new("What is 12 + 7?", "");
    let prompt = chat_tokenizer.encode_prompt(&question.prompt)?;
    // The context of the second model has no room for a revision.
    for (context_len, n_too_long) in [(256, 0), (prompt.len() + 4, 1)] {
        let vocab_size = chat_tokenizer.tokenizer.vocab_size();
        let config = ModelConfig { vocab_size, ..ModelConfig::byte_level(context_len, 1, 2, 16) };
        let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
        GptModern::new(&config, parameters.root())?;
        let model = GptModern::new(&config, parameters.for_inference().root())?;
        let mut judge = |inputs: &[RewardInput<'_>], _: &mut Rng| {
            assert!(inputs.iter().all(|input| input.example.prompt.len() == 1));
            Ok((0..inputs.len()).map(|i| i as f64).collect())
        };
        let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
        let mut reviser = Reviser {
            model: &model,
            chat_tokenizer: &chat_tokenizer,
            rollout: RolloutConfig::new(2, sampler, 3, chat_tokenizer.stop_token_ids().to_vec()),
            judge: &mut judge,
            request: "Not {worst}",
        };
        let example = PromptExample { example: question.clone(), prompt: prompt.clone() };
        let (mut pools, mut rng) = ([AnswerPool::new(example)], Rng::new(1));
        assert_eq!(reviser.round(&mut pools, &mut rng)?, 0);
        assert_eq!(reviser.round(&mut pools, &mut rng)?, n_too_long);
        assert_eq!(pools[0].answers.len(), 4);
    }
    Ok(())
}
