//! Validation during a run: the examples, the interval, and the target that ends the run.

use anyhow::Result;
use datasets::Example;
use modern::GptModern;
use serde_json::json;

use crate::evaluation::{GenerationEvalConfig, SftEvalMetrics, evaluate};
use crate::{ChatTokenizer, RunOutputs, SftLog, TrainState};

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
}

impl SftValidator<'_> {
    /// True if a validation is due after step `step`.
    pub fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Evaluates `model`, an inference model of `train_state`, and saves it if it is the best so
    /// far or reaches the target.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        &self,
        model: &GptModern,
        train_state: &mut TrainState,
        outputs: &RunOutputs<'_>,
        log: &mut SftLog,
    ) -> Result<()> {
        let (metrics, _) =
            log.suspend(|| evaluate(model, self.examples, self.chat_tokenizer, self.eval_config))?;
        let SftEvalMetrics { loss, exact_match, token_f1, rouge_l, eos_rate, .. } = metrics;
        let summary =
            format!("exact match {exact_match:.3}, token F1 {token_f1:.3}, EOS rate {eos_rate:.3}");
        let row = json!({
            "exact_match": exact_match, "token_f1": token_f1, "rouge_l": rouge_l,
            "eos_rate": eos_rate,
        });
        log.log_validation(train_state.progress.step, loss, &summary, row)?;
        train_state.progress.target_reached =
            self.target_exact_match.is_some_and(|target| exact_match >= target);
        if train_state.progress.update_best_loss(loss) {
            outputs.save_model(train_state)?;
        }
        Ok(())
    }
}
