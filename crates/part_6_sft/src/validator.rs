//! Validation during a run: the examples, the interval, and the target that ends the run.

use anyhow::Result;
use datasets::Example;
use experiment::{RunLog, TrainState};
use modern::GptModern;
use serde_json::json;

use crate::evaluation::{GenerationEvalConfig, SftEvalMetrics, evaluate};
use crate::{ChatTokenizer, ModelSaver};

/// Regular evaluation on the validation examples.
#[derive(Debug)]
pub struct SftValidator<'a> {
    /// Validation examples. They may end the run, so results are reported on other examples.
    pub examples: &'a [Example],
    /// Chat tokenizer.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Batch size and completion length.
    pub eval_config: GenerationEvalConfig,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Exact match at which the run ends.
    pub target_exact_match: Option<f64>,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

impl SftValidator<'_> {
    /// Evaluates `model`, an inference model of `state`, and saves it if it is the best so far or
    /// reaches the target.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(&self, model: &GptModern, state: &mut TrainState, log: &mut RunLog) -> Result<()> {
        let (metrics, _) =
            log.suspend(|| evaluate(model, self.examples, self.chat_tokenizer, self.eval_config))?;
        let SftEvalMetrics { loss, exact_match, token_f1, rouge_l, eos_rate, .. } = metrics;
        let summary = format!(
            ", {} tokens: validation loss {loss:.4}, exact match {exact_match:.3}, token F1 \
             {token_f1:.3}, EOS rate {eos_rate:.3}",
            log.state.n_tokens
        );
        let row = json!({
            "val_loss": loss, "exact_match": exact_match, "token_f1": token_f1,
            "rouge_l": rouge_l, "eos_rate": eos_rate,
        });
        log.validation(state.progress.step, &summary, row)?;
        let target_reached = self.target_exact_match.is_some_and(|target| exact_match >= target);
        if state.progress.record_validation(loss, target_reached) {
            self.model_saver.map_or(Ok(()), |saver| saver.save(&state.parameters))?;
        }
        Ok(())
    }
}
