//! `part_10 revise`: rounds of revised answers, beside as many independent ones.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use datasets::{DatasetFlags, Example};
use experiment::flags::ComputeFlags;
use experiment::program::{as_usage_error, ensure_usage};
use experiment::statistics::mean;
use experiment::terminal::printable;
use grpo::{Task, WeightedRewards};
use model_io::ChatMessage;
use ppo::prompts::tokenize_prompts;
use serde_json::json;
use sft::{FinetunedModel, one_line};
use tensor_core::{Rng, regular_file};

use super::judge_flags::JudgedModelFlags;
use crate::best_of_n::best_of_n;
use crate::revision::{AnswerPool, REVISION_REQUEST, Reviser, ScoredAnswer, best_of};

/// Largest file of a request.
const MAX_REQUEST_BYTES: u64 = 1 << 20;

#[derive(Args)]
pub(super) struct ReviseArgs {
    #[command(flatten)]
    judged: JudgedModelFlags,
    /// Question, may be repeated
    #[arg(long, value_name = "TEXT", required_unless_present = "data", help_heading = "Data")]
    prompt: Vec<String>,
    /// File, folder or Hub id with questions
    #[arg(
        long, visible_aliases = ["dataset", "dataset-name"], value_name = "DATA",
        conflicts_with = "prompt", help_heading = "Data"
    )]
    data: Option<String>,
    #[command(flatten)]
    dataset: DatasetFlags,
    /// Number of questions from --data
    #[arg(long, value_name = "N", default_value = "20", help_heading = "Data")]
    eval_examples: NonZeroUsize,
    /// Answers per round
    #[arg(long, value_name = "N", default_value = "4")]
    n: NonZeroUsize,
    /// Rounds of revision after the first answers
    #[arg(long, value_name = "N", default_value = "2")]
    rounds: usize,
    /// Text file with the request for a better answer, in which {worst} stands for the worst one
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Largest number of tokens per answer
    #[arg(long, visible_alias = "max-completion-length", value_name = "N", default_value = "128")]
    max_new_tokens: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Scores after a round, means over the questions.
struct RoundScores {
    /// Answers per question so far.
    n: usize,
    /// Mean score of the round's answers.
    mean: f64,
    /// Score of the best answer so far.
    best: f64,
    /// Score of the best of n independent answers.
    best_independent: f64,
}

pub(super) fn run(args: &ReviseArgs) -> Result<()> {
    let rewards = args.judged.judge()?;
    let request = load_request(args)?;
    let questions = load_questions(args, &rewards)?;
    let device = args.compute.open_device()?;
    let FinetunedModel { model, chat_tokenizer, .. } = args.judged.finetuned.open(&device)?;
    let mut judge = args.judged.open_reward_fn(&rewards, &chat_tokenizer, &device)?;
    let (n, max_new_tokens) = (args.n.get(), args.max_new_tokens.get());
    let context_len = model.config().context_len;
    let (questions, n_dropped) =
        tokenize_prompts(questions, &chat_tokenizer, context_len, max_new_tokens)?;
    if n_dropped > 0 {
        println!("{n_dropped} questions were dropped because they are too long");
    }
    let mut reviser = Reviser {
        model: &model,
        chat_tokenizer: &chat_tokenizer,
        rollout: args.judged.rollout(n, max_new_tokens, &chat_tokenizer),
        judge: &mut *judge.reward_fn,
        request: &request,
    };
    let mut pools: Vec<AnswerPool> = questions.into_iter().map(AnswerPool::new).collect();
    let mut rng = Rng::new(args.compute.seed);
    reviser.round(&mut pools, &mut rng)?;
    let mut independent = pools.clone(); // the first answers are the same
    for _ in 0..args.rounds {
        let n_too_long = reviser.round(&mut pools, &mut rng)?;
        if n_too_long > 0 {
            eprintln!(
                "warning: {n_too_long} revisions do not fit into the context of {context_len} \
                 tokens: independent answers instead"
            );
        }
        reviser.independent_round(&mut independent, &mut rng)?;
    }
    let rounds: Vec<RoundScores> =
        (0..=args.rounds).map(|round| RoundScores::new(round, n, &pools, &independent)).collect();
    print_answers(&pools, n);
    println!("answers   score of the round   best so far   best of as many independent");
    for RoundScores { n, mean, best, best_independent } in &rounds {
        println!("{n:7}{mean:21.3}{best:14.3}{best_independent:30.3}");
    }
    if args.json {
        let rounds = rounds.iter().map(|RoundScores { n, mean, best, best_independent }| {
            json!({ "n": n, "mean": mean, "best": best, "best_independent": best_independent })
        });
        println!("{}", json!({ "questions": pools.len(), "rounds": rounds.collect::<Vec<_>>() }));
    }
    Ok(())
}

/// Request for a better answer.
///
/// # Errors
/// When the file cannot be read, is too large, or does not mention the worst answer.
fn load_request(args: &ReviseArgs) -> Result<String> {
    let Some(path) = &args.request else { return Ok(REVISION_REQUEST.into()) };
    let request = regular_file::read_to_string(path, MAX_REQUEST_BYTES)?;
    let path = path.display();
    ensure_usage(
        request.contains("{worst}"),
        format!("--request {path}: it has no {{worst}}, which stands for the worst answer"),
    )?;
    Ok(request)
}

/// Questions of `--prompt` or `--data`.
fn load_questions(args: &ReviseArgs, rewards: &WeightedRewards) -> Result<Vec<Example>> {
    let questions = match &args.data {
        Some(data) => {
            let mut all = Task::Prompts.read_files(&args.dataset.locate(data)?)?;
            all.truncate(args.eval_examples.get());
            all
        }
        None => {
            as_usage_error(args.dataset.ensure_unused("(not given)"))?;
            args.prompt.iter().map(|prompt| Example::new(prompt, "")).collect()
        }
    };
    if let Some(rule) = rewards.rule_with_answers() {
        ensure!(
            questions.iter().all(|question| !question.completion.is_empty()),
            "the judge {rule} compares with right answers, and there are none: use a reward model \
             or program, or rows with an answer"
        );
    }
    Ok(questions)
}

/// Prints the answers to the first questions: the first one, the best of the first `n`, and the
/// best of all.
fn print_answers(pools: &[AnswerPool], n: usize) {
    for AnswerPool { question, answers } in pools.iter().take(5) {
        let text = question.example.prompt.last().map_or("", |ChatMessage { content, .. }| content);
        println!("question          {}", printable(&one_line(text)));
        let shown = [
            ("first", answers.first()),
            ("best", best_of(&answers[..n])),
            ("revised", best_of(answers)),
        ];
        for (name, answer) in shown {
            if let Some(ScoredAnswer { text, score }) = answer {
                println!("{name:8}{score:8.2}  {}", printable(&one_line(text)));
            }
        }
    }
}

impl RoundScores {
    /// Scores after `round`, each of `n` answers.
    fn new(round: usize, n: usize, pools: &[AnswerPool], independent: &[AnswerPool]) -> Self {
        let so_far = n * (round + 1);
        let scores = |pool: &AnswerPool| -> Vec<f64> {
            pool.answers.iter().map(|answer| answer.score).collect()
        };
        let over = |pools: &[AnswerPool], value: &dyn Fn(&[f64]) -> f64| {
            mean(&pools.iter().map(|pool| value(&scores(pool))).collect::<Vec<f64>>())
        };
        Self {
            n: so_far,
            mean: over(pools, &|scores| mean(&scores[so_far - n..so_far])),
            best: over(pools, &|scores| {
                let scores = &scores[..so_far];
                best_of_n(scores, scores, so_far)
            }),
            best_independent: over(independent, &|scores| best_of_n(scores, scores, so_far)),
        }
    }
}
