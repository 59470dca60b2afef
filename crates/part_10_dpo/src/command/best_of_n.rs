//! `part_10 best-of-n`: the best of n completions by a judge, by a rule, and the majority vote, for
//! n = 1, 2, 4 and so on.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use experiment::flags::ComputeFlags;
use experiment::loss_curve::{Curve, write_svg_with_axes};
use experiment::picture::create_parent_folder;
use experiment::statistics::mean;
use grpo::Task;
use grpo::rewards::exact;
use modern::FinishReason;
use ppo::prompts::{prompt_ids, tokenize_prompts};
use ppo::{PromptExample, RewardInput, ScoredRollouts, rollout};
use serde_json::json;
use sft::FinetunedModel;
use tensor_core::Rng;

use super::judge_flags::JudgedModelFlags;
use crate::best_of_n::{best_of_n, kl_bound, majority_of_n};

/// Prompts per rollout.
const PROMPTS_PER_ROLLOUT: usize = 8;
/// Subsets of n completions of a prompt over which the majority vote is a mean.
const N_SUBSETS: usize = 200;

#[derive(Args)]
pub(super) struct BestOfNArgs {
    #[command(flatten)]
    judged: JudgedModelFlags,
    /// Number of arithmetic test problems
    #[arg(long, value_name = "N", default_value = "100")]
    eval_examples: NonZeroUsize,
    /// Largest n: completions sampled per prompt
    #[arg(long, value_name = "N", default_value = "64")]
    n: NonZeroUsize,
    /// Largest number of tokens per completion
    #[arg(long, value_name = "N", default_value = "8")]
    max_new_tokens: NonZeroUsize,
    /// Draw the curves into this SVG file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Completions of a prompt: their scores by the judge, whether the rule says that they are right,
/// and their answers.
struct Candidates {
    scores: Vec<f64>,
    is_right: Vec<f64>,
    answers: Vec<String>,
}

/// Row of the table: means over the prompts.
struct CurvePoint {
    n: usize,
    judge: f64,
    exact_match: f64,
    majority: f64,
}

pub(super) fn run(args: &BestOfNArgs) -> Result<()> {
    let rewards = args.judged.judge()?;
    let device = args.compute.open_device()?;
    if let Some(path) = &args.picture {
        create_parent_folder(path)?;
    }
    let FinetunedModel { model, chat_tokenizer, .. } = args.judged.finetuned.open(&device)?;
    let mut judge = args.judged.open_reward_fn(&rewards, &chat_tokenizer, &device)?;
    let config = args.judged.rollout(args.n.get(), args.max_new_tokens.get(), &chat_tokenizer);
    let mut examples = Task::Arithmetic.test_examples()?;
    examples.truncate(args.eval_examples.get());
    let context_len = model.config().context_len;
    let (prompts, _) =
        tokenize_prompts(examples, &chat_tokenizer, context_len, config.max_new_tokens)?;
    let mut rng = Rng::new(args.compute.seed);
    let mut all = Vec::new();
    for prompts in prompts.chunks(PROMPTS_PER_ROLLOUT) {
        let groups = rollout(&model, &prompt_ids(prompts), &config, &mut rng)?;
        let rollouts =
            ScoredRollouts::new(groups, prompts, &chat_tokenizer, &mut *judge.reward_fn, &mut rng)?;
        ensure!(
            rollouts.rewards.iter().all(|r| r.is_finite()),
            "a score of the judge is not finite"
        );
        all.extend(candidates(&rollouts, prompts, args.n.get()));
    }
    let powers = (0..).map(|power| 1 << power).take_while(|&n| n <= args.n.get());
    let curve: Vec<CurvePoint> =
        powers.map(|n| CurvePoint::new(n, &all, args.compute.seed)).collect();
    println!("   n  KL bound   judge   exact match   majority");
    for CurvePoint { n, judge, exact_match, majority } in &curve {
        println!("{n:4}{:10.3}{judge:8.3}{exact_match:14.3}{majority:11.3}", kl_bound(*n));
    }
    if let Some(path) = &args.picture {
        let line = |name: &'static str, value: fn(&CurvePoint) -> f64| {
            let mut line = Curve::new(name);
            curve.iter().for_each(|point| line.push(point.n, value(point)));
            line
        };
        let lines = [
            line("judge", |point| point.judge),
            line("exact match", |point| point.exact_match),
            line("majority vote", |point| point.majority),
            line("KL bound, nats", |point| kl_bound(point.n)),
        ];
        write_svg_with_axes(path, &lines.each_ref(), ["n", "mean over the prompts"])?;
    }
    if args.json {
        let rows = curve.iter().map(|point| {
            json!({
                "n": point.n, "kl_bound": kl_bound(point.n), "judge": point.judge,
                "exact_match": point.exact_match, "majority": point.majority,
            })
        });
        println!("{}", json!({ "prompts": prompts.len(), "curve": rows.collect::<Vec<_>>() }));
    }
    Ok(())
}

/// Candidates of each of `prompts`, n per prompt.
fn candidates(rollouts: &ScoredRollouts, prompts: &[PromptExample], n: usize) -> Vec<Candidates> {
    let completions = rollouts.groups.iter().flat_map(|group| &group.completions);
    let finish_reasons: Vec<FinishReason> =
        completions.map(|completion| completion.finish_reason).collect();
    let texts = rollouts.completion_texts.chunks(n);
    let groups =
        prompts.iter().zip(texts).zip(rollouts.rewards.chunks(n)).zip(finish_reasons.chunks(n));
    groups
        .map(|(((prompt, texts), scores), finish_reasons)| {
            let inputs = texts.iter().zip(finish_reasons).map(|(completion, &finish_reason)| {
                RewardInput { example: &prompt.example, completion, finish_reason }
            });
            Candidates {
                scores: scores.to_vec(),
                is_right: inputs.map(|input| f64::from(exact(&input))).collect(),
                answers: texts.to_vec(),
            }
        })
        .collect()
}

impl CurvePoint {
    /// Means over the prompts of the best and of the majority of `n` candidates of each; `seed` is
    /// that of the subsets of the majority.
    fn new(n: usize, all: &[Candidates], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let majority =
            all.iter().map(|c| majority_of_n(&c.answers, &c.is_right, n, N_SUBSETS, &mut rng));
        let majority = mean(&majority.collect::<Vec<f64>>());
        let mean_of =
            |value: &dyn Fn(&Candidates) -> f64| mean(&all.iter().map(value).collect::<Vec<f64>>());
        Self {
            n,
            judge: mean_of(&|c| best_of_n(&c.scores, &c.scores, n)),
            exact_match: mean_of(&|c| best_of_n(&c.scores, &c.is_right, n)),
            majority,
        }
    }
}
