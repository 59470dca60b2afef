//! `part_10 length-bias`: a summed and a length-normalized loss on preferences in which length says
//! nothing, and on those in which the chosen completion is always the longer one. Which of them
//! learns that longer is better?
//!
//! Tone and length are told apart by pairs of test completions of equal tone: both polite, or both
//! rude, about the same fact, and of different lengths. A model that has learned the tone alone
//! gives the longer one the higher reward in half of them.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::{DType, Device};
use clap::Args;
use datasets::{Preference, Split, politeness};
use experiment::flags::ComputeFlags;
use experiment::statistics::{mean, sample_std};
use model_io::ChatMessage;
use modern::{Checkpoint, GptModern};
use sft::ChatTokenizer;
use sft::base_model::{self, BaseModelConfig};
use tensor_core::Parameters;

use super::small_run::{BATCH_SIZE, dataset, train_small};
use crate::log_probs::log_probs_of_examples;
use crate::losses::{DpoLoss, LossType};
use crate::preference_example::PreferenceDataset;

#[derive(Args)]
#[command(mut_arg("seed", |arg| arg.default_value("1").help("Seed of the first model")))]
pub(super) struct LengthBiasArgs {
    /// Pretraining steps of each base model
    #[arg(long, value_name = "N", default_value_t = 60)]
    base_steps: usize,
    /// Training steps on preferences
    #[arg(long, value_name = "N", default_value = "60")]
    steps: NonZeroUsize,
    /// Base models, and runs of each loss on each data
    #[arg(long, value_name = "N", default_value = "5")]
    seeds: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Training pairs.
#[derive(Clone, Copy, PartialEq)]
enum Pairs {
    /// Length says nothing.
    Unbiased,
    /// The chosen completion is the longer one.
    ChosenLonger,
}

/// Shares of test pairs in which one side has the higher reward, a tie counting one half.
struct Shares {
    /// The polite one of a polite and a rude one: accuracy.
    polite: f64,
    /// Accuracy where the polite one is the shorter.
    polite_and_shorter: f64,
    /// The longer one of two of equal tone.
    longer: f64,
}

const LOSSES: [(&str, DpoLoss); 2] = [
    (
        "sigmoid",
        DpoLoss { loss_type: LossType::Sigmoid { label_smoothing: 0. }, beta: 0.1, sft_weight: 0. },
    ),
    ("sigmoid-norm", DpoLoss { loss_type: LossType::SigmoidNorm, beta: 5., sft_weight: 0. }),
];
const PAIRS: [(&str, Pairs); 2] =
    [("length says nothing", Pairs::Unbiased), ("chosen is longer", Pairs::ChosenLonger)];

pub(super) fn run(args: &LengthBiasArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let mut rows: Vec<(String, Vec<Shares>)> = Vec::new();
    for i in 0..args.seeds.get() as u64 {
        let seed = args.compute.seed.wrapping_add(i);
        println!("seed {seed}");
        let base = BaseModelConfig { steps: args.base_steps, ..BaseModelConfig::default() };
        let mut base = base_model::pretrain(base, seed, &device)?;
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut base, None)?;
        let reference =
            GptModern::new(base.model.config(), base.parameters.for_inference().root())?;
        let test = politeness::eval_pairs(Split::Test);
        let equal_tone = dataset(pairs_of_equal_tone(&test), &chat_tokenizer, &reference)?;
        let test = dataset(test, &chat_tokenizer, &reference)?;
        for (pairs_name, pairs) in PAIRS {
            let data = pairs.train_pairs(BATCH_SIZE * args.steps.get(), seed);
            let data = dataset(data, &chat_tokenizer, &reference)?;
            for (loss_name, loss) in LOSSES {
                let parameters = copy_of(&base, &device)?;
                let steps = args.steps.get();
                let policy = train_small(&reference, parameters, &data, &test, loss, steps, seed)?;
                let shares = Shares::new(&policy.models.inference, &loss, [&test, &equal_tone])?;
                let name = format!("{pairs_name} | {loss_name}");
                match rows.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, all)) => all.push(shares),
                    None => rows.push((name, vec![shares])),
                }
            }
        }
    }
    print_table(&rows);
    Ok(())
}

impl Pairs {
    /// `n` training pairs.
    fn train_pairs(self, n: usize, seed: u64) -> Vec<Preference> {
        // About half of the pairs have a longer chosen completion.
        let all = politeness::train_pairs(if self == Self::Unbiased { n } else { 4 * n }, seed);
        let is_kept =
            |pair: &Preference| self == Self::Unbiased || pair.chosen.len() > pair.rejected.len();
        all.into_iter().filter(is_kept).take(n).collect()
    }
}

/// Pairs of completions of equal tone about the same fact: the longer as the chosen one.
fn pairs_of_equal_tone(pairs: &[Preference]) -> Vec<Preference> {
    let neighbors = pairs.windows(2).filter(|two| two[0].prompt == two[1].prompt);
    let of_tone = neighbors.flat_map(|two| {
        [[&two[0].chosen, &two[1].chosen], [&two[0].rejected, &two[1].rejected]].map(|mut texts| {
            texts.sort_by_key(|text| text.len());
            let [shorter, longer] = texts.map(ChatMessage::assistant);
            Preference::of_messages(two[0].prompt.clone(), longer, shorter)
        })
    });
    of_tone.filter(|pair| pair.chosen.len() > pair.rejected.len()).collect()
}

/// Weights of the base model, to be trained.
fn copy_of(base: &Checkpoint, device: &Device) -> Result<Parameters> {
    let mut parameters = Parameters::seeded(0, DType::F32, device);
    GptModern::new(base.model.config(), parameters.root())?;
    for (copy, original) in parameters.iter().zip(base.parameters.iter()) {
        copy.var.set(&original.var.as_detached_tensor())?;
    }
    Ok(parameters)
}

impl Shares {
    fn new(
        model: &GptModern,
        loss: &DpoLoss,
        [test, equal_tone]: [&PreferenceDataset; 2],
    ) -> Result<Self> {
        let all = outcomes(model, loss, test)?;
        let shorter = |&(_, [chosen, rejected]): &(f64, [usize; 2])| chosen < rejected;
        let share = |outcomes: Vec<(f64, [usize; 2])>| {
            mean(&outcomes.into_iter().map(|(outcome, _)| outcome).collect::<Vec<f64>>())
        };
        Ok(Self {
            polite_and_shorter: share(all.iter().copied().filter(shorter).collect()),
            polite: share(all),
            longer: share(outcomes(model, loss, equal_tone)?),
        })
    }
}

/// Outcome of each pair, 1 if the first completion has the higher reward by the loss's own measure,
/// else 0, or ½ in a tie, and the lengths of both.
fn outcomes(
    model: &GptModern,
    loss: &DpoLoss,
    data: &PreferenceDataset,
) -> Result<Vec<(f64, [usize; 2])>> {
    let log_probs = log_probs_of_examples(model, &data.examples, 2 * BATCH_SIZE)?;
    let of_pair = data.examples.iter().zip(log_probs).map(|(example, log_probs)| {
        let lengths = [0, 1].map(|side| example.group.completions[side].tokens.len());
        let reward = |side: usize| {
            let log_ratio = log_probs[side] - example.ref_log_probs[side];
            match loss.loss_type {
                LossType::SigmoidNorm => log_ratio / lengths[side] as f64,
                _ => log_ratio,
            }
        };
        let margin = reward(0) - reward(1);
        let outcome = if margin == 0. { 0.5 } else { f64::from(u8::from(margin > 0.)) };
        (outcome, lengths)
    });
    Ok(of_pair.collect())
}

fn print_table(rows: &[(String, Vec<Shares>)]) {
    println!(
        "| pairs | loss | accuracy | where the polite one is shorter | longer of equal tone |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (name, shares) in rows {
        let column = |of: fn(&Shares) -> f64| {
            let values: Vec<f64> = shares.iter().map(of).collect();
            format!("{:.3} ± {:.3}", mean(&values), sample_std(&values))
        };
        let columns =
            [column(|s| s.polite), column(|s| s.polite_and_shorter), column(|s| s.longer)];
        println!("| {name} | {} |", columns.join(" | "));
    }
}
