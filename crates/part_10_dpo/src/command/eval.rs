//! `part_10 eval`: the implicit rewards of a policy on preference pairs.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use datasets::DatasetFlags;
use experiment::flags::ComputeFlags;
use experiment::model_runs::settings_of_runs;
use experiment::program::{as_usage_error, ensure_usage};
use experiment::statistics::wilson_interval;
use modern::GptModern;
use ppo::CompletionEvalConfig;
use ppo::comparison::{ExactKl, exact_kl};
use ppo::reference::reference_of_finetuned;
use ranks::Ranks;
use reward::flags::PreferenceFlags;
use serde_json::json;
use sft::model_flags::FinetunedFlags;
use sft::{ChatTokenizer, FinetunedModel};
use tensor_core::Rng;

use crate::flags::LossFlags;
use crate::metrics::DpoMetrics;
use crate::preference_example::{
    Label, PreferenceDataset, PreferenceExample, PreferenceRow, PreferenceType, mismatched,
    tokenize,
};
use crate::ref_cache::set_ref_log_probs;
use crate::source::load_eval_rows;
use crate::validator::evaluate;

#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    finetuned: FinetunedFlags,
    /// Reference model [default: that of the run, or the model without its adapter]
    #[arg(long, visible_alias = "ref-model", value_name = "MODEL", help_heading = "Model")]
    reference: Option<String>,
    /// Data, as for `train` [default: the held-out rows of the run, else arithmetic]
    #[arg(
        long, visible_aliases = ["dataset", "dataset-name"], value_name = "DATA",
        help_heading = "Data"
    )]
    data: Option<String>,
    #[command(flatten)]
    dataset: DatasetFlags,
    /// Column names, as prompt=A,chosen=B,rejected=C [default: prompt, chosen and rejected]
    #[arg(long, value_name = "MAP", requires = "data", help_heading = "Data")]
    columns: Option<String>,
    #[command(flatten)]
    loss: LossFlags,
    /// Rows per forward pass
    #[arg(long, value_name = "N", default_value = "32", help_heading = "Run")]
    batch_size: NonZeroUsize,
    /// Rows whose prompts the policy answers, to measure its KL from the reference; 0 for none
    #[arg(long, value_name = "N", default_value = "100", help_heading = "Run")]
    kl_prompts: usize,
    /// Largest number of tokens of these completions
    #[arg(
        long,
        visible_alias = "max-completion-length",
        value_name = "N",
        default_value = "64",
        help_heading = "Run"
    )]
    max_new_tokens: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long, help_heading = "Run")]
    json: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let loss = args.loss.config()?;
    let device = args.compute.open_device()?;
    let preference_type = loss.loss_type.preference_type();
    let rows = load_rows(args, preference_type)?;
    let finetuned = args.finetuned.open(&device)?;
    let reference = match loss.loss_type.needs_reference() {
        true => {
            let named = args.reference.as_deref();
            let reference = reference_of_finetuned(&args.finetuned, named, &finetuned, &device)?;
            Some(reference.context(
                "no reference is known: name the model that the policy started from, --reference \
                 MODEL",
            )?)
        }
        false => None,
    };
    let FinetunedModel { model, chat_tokenizer, .. } = finetuned;
    let context_len = model.config().context_len;
    let (mut examples, counts) = tokenize(&rows, &chat_tokenizer, context_len)?;
    ensure!(!examples.is_empty(), "no row fits the model's context of {context_len} tokens");
    if counts.n_dropped() + counts.n_truncated > 0 {
        println!("{counts}");
    }
    let mut mismatched = match preference_type {
        PreferenceType::Paired => Vec::new(),
        PreferenceType::Unpaired => mismatched(&examples, context_len).unwrap_or_default(),
    };
    let batch_size = args.batch_size.get();
    let mut kl = None;
    if let Some(reference) = reference {
        set_ref_log_probs(&mut examples, &reference, batch_size, &Ranks::Alone)?;
        set_ref_log_probs(&mut mismatched, &reference, batch_size, &Ranks::Alone)?;
        kl = kl_of_completions(args, &model, &reference, &chat_tokenizer, &examples)?;
    }
    let data = PreferenceDataset { examples, mismatched };
    let metrics = evaluate(&model, &data, &loss, batch_size)?;
    print_metrics(&metrics, &data);
    if let Some(ExactKl { per_completion, per_token, .. }) = kl {
        println!(
            "KL(policy ‖ reference) on completions of the policy: {per_completion:.3} nats each, \
             {per_token:.4} per token"
        );
    }
    if args.json {
        let mut report = metrics.row("");
        report["loss"] = json!(metrics.loss);
        report["n"] = json!(data.examples.len());
        report["kl"] = json!(kl.map(|kl| kl.per_token));
        report["kl_per_completion"] = json!(kl.map(|kl| kl.per_completion));
        println!("{report}");
    }
    Ok(())
}

/// KL of the policy from its reference, on completions for the prompts of the first `examples`;
/// `None` with `--kl-prompts 0`.
fn kl_of_completions(
    args: &EvalArgs,
    model: &GptModern,
    reference: &GptModern,
    chat_tokenizer: &ChatTokenizer,
    examples: &[PreferenceExample],
) -> Result<Option<ExactKl>> {
    let prompts: Vec<Vec<u32>> =
        examples.iter().take(args.kl_prompts).map(|example| example.group.prompt.clone()).collect();
    let (max_new_tokens, batch_size) = (args.max_new_tokens.get(), args.batch_size.get());
    let eval_config = CompletionEvalConfig { chat_tokenizer, max_new_tokens, batch_size };
    let rng = &mut Rng::new(args.compute.seed);
    (!prompts.is_empty())
        .then(|| exact_kl(model, reference, &prompts, eval_config, rng))
        .transpose()
}

/// Rows of `--data`, by default the data of the run of `--model`, or the arithmetic test pairs if
/// the model does not belong to a run on preferences. If a run that led to the model was trained on
/// some of these, only the rows that it held out.
fn load_rows(args: &EvalArgs, preference_type: PreferenceType) -> Result<Vec<PreferenceRow>> {
    let (columns, dataset) = (args.columns.clone(), args.dataset.clone());
    if args.data.is_none() {
        as_usage_error(dataset.ensure_unused("(not given)"))?;
    }
    let requested = args.data.clone().map(|data| PreferenceFlags { data, dataset, columns });
    let runs = settings_of_runs(Path::new(args.finetuned.trained_model()))?;
    ensure_usage(
        args.data.is_some() || runs.first().is_none_or(|run| run["online"].is_null()),
        "the run has learned from its own completions and holds no pairs: give --data, or use \
         `part_9 eval`",
    )?;
    let data = PreferenceFlags::of_evaluation(requested, &runs)?;
    data.hold_out(&runs, || load_eval_rows(&data, preference_type))
}

/// Prints the metrics in words, beside the accuracy of the completions' lengths alone.
fn print_metrics(metrics: &DpoMetrics, data: &PreferenceDataset) {
    let n = data.examples.len();
    println!("{n} rows: loss {:.4}, margin {:.3}", metrics.loss, metrics.margin);
    if let Some(accuracy) = metrics.accuracy.or(metrics.reward_accuracy) {
        let [low, high] = wilson_interval(accuracy, n);
        let lengths: Vec<[usize; 2]> = data.examples.iter().map(lengths_of_pair).collect();
        println!(
            "accuracy {accuracy:.3} (95% CI {low:.3} to {high:.3}); length alone {:.3}",
            reward::metrics::length_only_accuracy(&lengths)
        );
    }
    if metrics.accuracy.is_some() && metrics.accuracy != metrics.reward_accuracy {
        let of_sums = metrics.reward_accuracy.unwrap_or(f64::NAN);
        println!("this loss compares means per token; by sums over tokens: accuracy {of_sums:.3}");
    }
    println!(
        "chosen: reward {:.3}, log π {:.3}; rejected: reward {:.3}, log π {:.3}",
        metrics.rewards_chosen,
        metrics.log_probs_chosen,
        metrics.rewards_rejected,
        metrics.log_probs_rejected
    );
}

/// Numbers of tokens of the chosen and of the rejected completion of a pair.
fn lengths_of_pair(example: &PreferenceExample) -> [usize; 2] {
    let length = |label: Label| {
        let at = example.labels.iter().position(|&other| other == label);
        at.map_or(0, |at| example.group.completions[at].tokens.len())
    };
    [length(Label::Chosen), length(Label::Rejected)]
}
