//! What a run is looked at with: validation examples, how often, and when it is good enough.

use anyhow::Result;
use modern::GptModern;
use serde_json::json;

use crate::evaluation::{GenerationEvalConfig, SftEvalMetrics, evaluate};
use crate::{ChatTokenizer, Example, RunOutputs, SftLog, TrainState};

/// A regular look at how well the model answers.
#[derive(Debug)]
pub struct SftValidator<'a> {
    /// What is asked. The run may be ended by it, so results are reported of others.
    pub examples: &'a [Example],
    /// How it is asked.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// How much at a time.
    pub eval_config: GenerationEvalConfig,
    /// Steps between two looks; 0 for one at the end.
    pub interval: usize,
    /// Exact match at which the run ends.
    pub target_exact_match: Option<f64>,
}

impl SftValidator<'_> {
    /// Whether there is one after step `step`.
    pub fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Looks at `twin`, an inference twin of `tuning`, which is saved if it is the best so far, or good enough.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        &self,
        twin: &GptModern,
        tuning: &mut TrainState,
        outputs: &RunOutputs<'_>,
        log: &mut SftLog,
    ) -> Result<()> {
        let (found, _) = log
            .run_untimed(|| evaluate(twin, self.examples, self.chat_tokenizer, self.eval_config))?;
        let SftEvalMetrics { loss, exact_match, token_f1, rouge_l, eos_rate, .. } = found;
        let said =
            format!("exact match {exact_match:.3}, token F1 {token_f1:.3}, ended {eos_rate:.3}");
        let figures = json!({
            "exact_match": exact_match, "token_f1": token_f1, "rouge_l": rouge_l, "eos_rate": eos_rate,
        });
        log.log_validation(tuning.progress.step, loss, &said, figures)?;
        tuning.progress.target_reached =
            self.target_exact_match.is_some_and(|enough| exact_match >= enough);
        if tuning.progress.update_best_loss(loss) {
            outputs.save_model(tuning)?;
        }
        Ok(())
    }
}
