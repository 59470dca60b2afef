//! Training state and its checkpoints: trained weights, optimizer state, and progress. Frozen
//! weights are not written again: the base model of the run has them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use ranks::Ranks;
use serde::Serialize;
use serde_json::{Value, json};
use tensor_core::precision::units_note;
use tensor_core::{
    Optimizer, OptimizerConfig, Parameter, Parameters, Rng, json_file, sha256, weights,
};

use crate::metrics_writer::extend_row;
use crate::train_progress::TrainProgress;

const ALL_WEIGHTS: &str = "model.safetensors";
const TRAINED_WEIGHTS: &str = "trained.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Bits of the rank in the index of a dropout stream; those above are the step.
const RANK_BITS: usize = 20;

/// Weights, optimizer and progress of a run.
pub struct TrainState {
    /// Weights, including frozen ones and adapters.
    pub parameters: Parameters,
    /// Optimizer of the trained weights, with its state.
    pub optimizer: Optimizer,
    /// Step, best validation, and whether the target was reached.
    pub progress: TrainProgress,
    /// Ranks that train these weights together, each its own copy.
    pub ranks: Ranks,
    /// SHA-256 of the frozen weights, if there are any.
    frozen_sha256: Option<String>,
}

impl TrainState {
    /// State of a new run with `parameters`.
    ///
    /// # Errors
    /// When nothing is trainable, or the device is out of memory.
    pub fn new(parameters: Parameters, optimizer: impl Into<OptimizerConfig>) -> Result<Self> {
        ensure!(parameters.trainable().next().is_some(), "the model has no trainable parameter");
        let optimizer = Optimizer::new(&parameters, optimizer.into())?;
        let frozen_sha256 = frozen_sha256(&parameters)?;
        let (progress, ranks) = (TrainProgress::default(), Ranks::Alone);
        Ok(Self { parameters, optimizer, progress, ranks, frozen_sha256 })
    }

    /// The state of a run whose models compute in `dtype`, with master weights in f32: see
    /// [`Parameters::into_compute_dtype`]. A checkpoint belongs to the same frozen weights before
    /// they are rounded.
    ///
    /// # Errors
    /// When weights are quantized, or memory is short.
    pub fn with_compute_dtype(self, dtype: DType) -> Result<Self> {
        Ok(Self { parameters: self.parameters.into_compute_dtype(dtype)?, ..self })
    }

    /// Trains together with `ranks` from now on: all get the weights of the first.
    ///
    /// # Errors
    /// When the ranks have models of different shapes or with different frozen weights, or are at
    /// different steps.
    pub fn join(&mut self, ranks: &Ranks) -> Result<()> {
        self.ranks = ranks.clone();
        if !ranks.are_several() {
            return Ok(());
        }
        // Each trained tensor is sent by itself, so all ranks must expect the same ones.
        let shape = |p: &Parameter| (p.name.clone(), p.var.dims().to_vec());
        let shapes: Vec<(String, Vec<usize>)> = self.parameters.trainable().map(shape).collect();
        let own = (self.progress.step, self.frozen_sha256.clone(), shapes);
        ranks.ensure_same(&own, "model")?;
        for parameter in self.parameters.trainable() {
            let mut bytes = Vec::new();
            parameter.var.as_tensor().write_bytes(&mut bytes)?;
            ranks.broadcast(&mut bytes)?;
            let (dtype, shape) = (parameter.var.dtype(), parameter.var.shape().dims());
            let tensor = Tensor::from_raw_buffer(&bytes, dtype, shape, parameter.var.device())?;
            parameter.var.set(&tensor)?;
        }
        Ok(())
    }

    /// Gives dropout of the next step a stream of its own on each of several ranks. It follows from
    /// `seed`, the step and the rank alone: a resumed run goes on with it, and on another number of
    /// ranks repeats none. A single rank goes on with the stream of the checkpoint.
    pub fn seed_dropout(&mut self, seed: u64) {
        if self.ranks.are_several() {
            let index = (self.progress.step << RANK_BITS | self.ranks.rank()) as u64;
            // The streams of steps, which sample completions, have the indices below.
            self.parameters.set_dropout_rng(Rng::of_index(seed, 1 << 63 | index));
        }
    }

    /// Number of trained parameters, and of all parameters.
    pub fn parameter_counts(&self) -> (usize, usize) {
        let trained = self.parameters.trainable().map(|p| p.var.elem_count()).sum();
        (trained, self.parameters.n_parameters())
    }

    /// Result of a run for `--json`: step, step and score of the kept model, speed, parameter
    /// counts.
    pub fn result(&self, tokens_per_second: f64) -> Value {
        let (trained, all) = self.parameter_counts();
        let mut result = json!({
            "step": self.progress.step, "target_reached": self.progress.target_reached,
            "tokens_per_s": tokens_per_second, "parameters": all, "trained_parameters": trained,
        });
        extend_row(&mut result, self.progress.selection.to_json());
        result
    }

    /// Parameter counts in words.
    pub fn parameter_summary(&self) -> String {
        let (trained, all) = self.parameter_counts();
        let share = 100. * trained as f64 / all as f64;
        let units = units_note(self.parameters.compute_dtype(), self.parameters.device());
        format!("{all} parameters, of which {trained} ({share:.2} %) are trained{units}")
    }

    /// Writes the checkpoint `folder`; `data_id` names the training data.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data_id: &str) -> Result<()> {
        let file = if self.frozen_sha256.is_none() { ALL_WEIGHTS } else { TRAINED_WEIGHTS };
        self.save_weights(&folder.join(file))?;
        self.save_without_weights(folder, data_id, &())
    }

    fn save_weights(&self, path: &Path) -> Result<()> {
        let trained = self.parameters.trainable();
        let trained: BTreeMap<String, Tensor> =
            trained.map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
        weights::save(path, &trained)
    }

    /// Writes the trained weights into the checkpoint `folder`, beside a model whose files do not
    /// hold them as the model in memory does.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_trained_weights(&self, folder: &Path) -> Result<()> {
        self.save_weights(&folder.join(TRAINED_WEIGHTS))
    }

    /// Writes all of a checkpoint but the weights, with the fields of `more`, the progress of a
    /// part; `()` has none.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_without_weights(
        &self,
        folder: &Path,
        data_id: &str,
        more: &impl Serialize,
    ) -> Result<()> {
        weights::save(&folder.join(OPTIMIZER), &self.optimizer.state_view()?)?;
        let mut progress = serde_json::to_value(&self.progress)?;
        extend_row(&mut progress, serde_json::to_value(more)?);
        let rng = self.parameters.dropout_rng();
        let state = json!({
            "state": progress, "dropout_rng": rng, "data": data_id, "frozen": self.frozen_sha256,
        });
        json_file::write(&folder.join(STATE), &state)
    }

    /// Restores the checkpoint `folder` of such a run. Returns its progress, with what a part has
    /// added to it.
    ///
    /// # Errors
    /// When a file is missing, or the checkpoint belongs to another model, other frozen weights or
    /// other data.
    pub fn restore(&mut self, folder: &Path, data_id: &str) -> Result<Value> {
        let path = folder.join(STATE);
        let mut state = json_file::read(&path)?;
        ensure!(
            state["data"] == data_id,
            "{} was trained on other data than --data now holds, or from another model",
            folder.display()
        );
        let or_earlier = match self.parameters.is_quantized() {
            true => ", or by an earlier version, which did not record quantized ones",
            false => "",
        };
        ensure!(
            state["frozen"] == json!(self.frozen_sha256),
            "{} was trained with other frozen weights than this model has{or_earlier}",
            folder.display()
        );
        let rng: Option<Rng> = serde_json::from_value(state["dropout_rng"].take())?;
        let progress = state["state"].take();
        self.progress = serde_json::from_value(progress.clone())
            .with_context(|| format!("{} is not the state of a run", path.display()))?;
        if let Some(rng) = rng {
            self.parameters.set_dropout_rng(rng);
        }
        self.restore_weights(folder)?;
        let path = folder.join(OPTIMIZER);
        let restored = self.optimizer.load_state_dict(weights::load(&path)?);
        restored.with_context(|| format!("{} does not fit the model", path.display()))?;
        Ok(progress)
    }

    fn restore_weights(&mut self, folder: &Path) -> Result<()> {
        let files = [TRAINED_WEIGHTS, ALL_WEIGHTS].map(|file| folder.join(file));
        let path = files.iter().find(|path| path.exists()).unwrap_or(&files[1]);
        let mut trained = weights::load(path)?;
        for parameter in self.parameters.trainable() {
            let tensor = trained.remove(&parameter.name);
            let tensor = tensor
                .filter(|tensor| tensor.shape() == parameter.var.shape())
                .with_context(|| {
                    format!("{} has no tensor `{}` of this shape", path.display(), parameter.name)
                })?;
            parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
        }
        if let Some(name) = trained.keys().next() {
            bail!("{}: `{name}` is not trained in this run", path.display());
        }
        Ok(())
    }
}

/// SHA-256 of the frozen weights, or `None` if all are trained. A checkpoint lacks the frozen
/// weights, and is valid only with the same ones. Quantized matrices are always frozen.
fn frozen_sha256(parameters: &Parameters) -> Result<Option<String>> {
    let has_frozen = parameters.is_quantized() || parameters.iter().any(|p| !p.trainable);
    has_frozen.then(|| sha256_where(parameters, |p| !p.trainable)).transpose()
}

/// SHA-256 of the names and values of all weights of `parameters`, quantized matrices included.
///
/// # Errors
/// When they cannot be read from their device.
pub fn parameters_sha256(parameters: &Parameters) -> Result<String> {
    sha256_where(parameters, |_| true)
}

/// SHA-256 of the quantized matrices, and of the parameters that satisfy `is_included`.
fn sha256_where(
    parameters: &Parameters,
    is_included: impl FnMut(&&Parameter) -> bool,
) -> Result<String> {
    let mut names_and_hashes = String::new();
    for Parameter { name, var, .. } in parameters.iter().filter(is_included) {
        let mut bytes = Vec::new();
        var.as_tensor().write_bytes(&mut bytes)?;
        names_and_hashes.extend([name, " ", &sha256::hash_bytes(&bytes), "\n"]);
    }
    for (name, matrix) in parameters.quantized_matrices() {
        let hash = sha256::hash_bytes(matrix.blocks());
        names_and_hashes.extend([name, " ", matrix.format().name(), " ", &hash, "\n"]);
    }
    Ok(sha256::hash_bytes(names_and_hashes.as_bytes()))
}
