//! What a run is looked at with: validation examples, how often, and when it is good enough.

use anyhow::Result;
use modern::GptModern;
use serde_json::json;

use crate::evaluation::{Evaluation, Extent, evaluate};
use crate::{Example, Outputs, RunLog, Speech, Tuning};

/// A regular look at how well the model answers.
#[derive(Debug)]
pub struct Exam<'a> {
    /// What is asked. The run may be ended by it, so results are reported of others.
    pub examples: &'a [Example],
    /// How it is asked.
    pub speech: &'a Speech,
    /// How much at a time.
    pub extent: Extent,
    /// Steps between two looks; 0 for one at the end.
    pub interval: usize,
    /// Exact match at which the run ends.
    pub stop_at: Option<f64>,
}

impl Exam<'_> {
    /// Whether there is one after step `step`.
    pub fn due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Looks at `twin`, an inference twin of `tuning`, which is saved if it is the best so far, or good enough.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn sit(
        &self,
        twin: &GptModern,
        tuning: &mut Tuning,
        outputs: &Outputs<'_>,
        log: &mut RunLog,
    ) -> Result<()> {
        let (found, _) = log.pause(|| evaluate(twin, self.examples, self.speech, self.extent))?;
        let Evaluation { loss, exact_match, token_f1, rouge_l, eos_rate, .. } = found;
        let said =
            format!("exact match {exact_match:.3}, token F1 {token_f1:.3}, ended {eos_rate:.3}");
        let figures = json!({
            "exact_match": exact_match, "token_f1": token_f1, "rouge_l": rouge_l, "eos_rate": eos_rate,
        });
        log.validation(tuning.state.step, loss, &said, figures)?;
        tuning.state.passed = self.stop_at.is_some_and(|enough| exact_match >= enough);
        if tuning.state.keeps(loss) {
            outputs.save_model(tuning)?;
        }
        Ok(())
    }
}
