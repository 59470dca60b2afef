//! 10.2 Log-probabilities under the reference: computed once, before the first step, and kept in
//! the run folder.
//!
//! The reference never changes, so neither do its log-probabilities, and a run needs no second
//! model in memory. A file of numbers that belong to other data or to another model would train
//! towards nonsense without a sign of it. So the file's name holds both, a hash of the tokens and
//! one of the reference's weights, and a resumed run that finds a file of another name stops.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use modern::GptModern;
use ranks::Ranks;
use tensor_core::weights;

use crate::log_probs::log_probs_of_examples;
use crate::preference_example::{PreferenceDataset, PreferenceExample, examples_sha256};

const PREFIX: &str = "ref_log_probs-";
/// Hexadecimal digits of each hash in the name.
const N_DIGITS: usize = 16;
const TENSOR: &str = "log_probs";

/// File of log-probabilities under a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefCache {
    path: PathBuf,
}

impl RefCache {
    /// File in the run folder `folder` for `datasets` and the reference whose weights have the
    /// SHA-256 `reference`.
    pub fn new(folder: &Path, datasets: &[&PreferenceDataset], reference: &str) -> Self {
        let data = examples_sha256(datasets.iter().flat_map(|dataset| all_examples(dataset)));
        let [data, reference] = [data.as_str(), reference].map(|hash| &hash[..N_DIGITS]);
        let name = format!("{PREFIX}data-{data}-model-{reference}.safetensors");
        Self { path: folder.join(name) }
    }

    /// Sets the log-probabilities of `datasets` under the model `reference`: those of the file, or,
    /// if there is none yet, new ones, which are written to it. `batch_size` examples are computed
    /// at a time, by each of the `ranks` those of its share; the file is that of the first.
    ///
    /// # Errors
    /// When the folder has a file for other data or another reference, the file is damaged, or
    /// another rank has ended.
    pub fn load_or_compute(
        &self,
        datasets: &mut [&mut PreferenceDataset],
        reference: &GptModern,
        batch_size: usize,
        ranks: &Ranks,
    ) -> Result<()> {
        let n: usize = datasets.iter().flat_map(|d| all_examples(d)).map(|e| e.labels.len()).sum();
        if let Some(all) = ranks.on_first(|| self.load(n))? {
            let mut all = all.into_iter();
            for dataset in datasets {
                for example in dataset.examples.iter_mut().chain(&mut dataset.mismatched) {
                    example.ref_log_probs = all.by_ref().take(example.labels.len()).collect();
                }
            }
            return Ok(());
        }
        let mut all = Vec::new();
        for dataset in datasets {
            for examples in [&mut dataset.examples, &mut dataset.mismatched] {
                set_ref_log_probs(examples, reference, batch_size, ranks)?;
                all.extend(examples.iter().flat_map(|example| example.ref_log_probs.clone()));
            }
        }
        if !ranks.is_first() {
            return Ok(());
        }
        let tensors = BTreeMap::from([(TENSOR.into(), Tensor::new(all, &Device::Cpu)?)]);
        weights::save(&self.path, &tensors)
    }

    /// Checks that the folder has no such file of another name.
    fn ensure_not_stale(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        for path in entries.map(|entry| entry.map(|entry| entry.path())) {
            let path = path.with_context(|| folder.display().to_string())?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ensure!(
                !name.starts_with(PREFIX) || path == self.path,
                "{} holds log-probabilities of other data or under another reference than those of \
                 this run: the data or the reference model changed since it began, or it is a \
                 KTO run of an earlier version, which took other completions for the baseline; \
                 start a new run",
                path.display()
            );
        }
        Ok(())
    }

    /// The `n` log-probabilities of the file, if there is one.
    fn load(&self, n: usize) -> Result<Option<Vec<f64>>> {
        self.ensure_not_stale()?;
        if !self.path.exists() {
            return Ok(None);
        }
        let damaged = || format!("{} is damaged: remove it", self.path.display());
        let tensors = weights::load(&self.path).with_context(damaged)?;
        let all: Vec<f64> = tensors.get(TENSOR).with_context(damaged)?.to_vec1()?;
        ensure!(all.len() == n && all.iter().all(|x| x.is_finite()), damaged());
        Ok(Some(all))
    }
}

/// Sets the log-probabilities of `examples` under the model `reference`, which is built for
/// inference. Each of the `ranks` computes those of its share.
///
/// # Errors
/// When a text is longer than its context, or another rank has ended.
pub fn set_ref_log_probs(
    examples: &mut [PreferenceExample],
    reference: &GptModern,
    batch_size: usize,
    ranks: &Ranks,
) -> Result<()> {
    let own = &examples[ranks.rows(examples.len())];
    let log_probs = ranks.gather(&log_probs_of_examples(reference, own, batch_size)?)?.concat();
    for (example, log_probs) in examples.iter_mut().zip(log_probs) {
        example.ref_log_probs = log_probs;
    }
    Ok(())
}

fn all_examples(dataset: &PreferenceDataset) -> impl Iterator<Item = &PreferenceExample> {
    dataset.examples.iter().chain(&dataset.mismatched)
}
