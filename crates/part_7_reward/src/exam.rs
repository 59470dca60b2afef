//! What a run is looked at with: validation pairs, how often, and when it is good enough. The best model is kept, with its
//! normalisation and a picture of its rewards: the best by Bradley-Terry's loss, whatever is trained by, as that loss alone says how
//! far scores can be taken for probabilities.

use anyhow::Result;
use serde_json::json;
use sft::{Outputs, RunLog, Tuning};

use crate::evaluation::{Evaluation, evaluate, normalisation};
use crate::metrics::Scores;
use crate::model_folder::{self, Description};
use crate::pairs::Pair;
use crate::{RewardModel, histogram, start};

/// A regular look at how well the model tells responses apart.
#[derive(Debug)]
pub struct Exam<'a> {
    /// What is told apart. The run may be ended by it, so results are reported of others.
    pub pairs: &'a [Pair],
    /// Texts at a time.
    pub batch_size: usize,
    /// Steps between two looks; 0 for one at the end.
    pub interval: usize,
    /// Accuracy at which the run ends.
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
        twin: &RewardModel,
        tuning: &mut Tuning,
        outputs: &Outputs<'_>,
        log: &mut RunLog,
    ) -> Result<()> {
        let (found, scores) = log.pause(|| evaluate(twin, self.pairs, self.batch_size))?;
        let Evaluation { loss, accuracy, margin, length_correlation, .. } = found;
        let said = format!("accuracy {accuracy:.3}, margin {margin:.3}");
        let figures = json!({
            "val_accuracy": accuracy, "val_margin": margin, "length_correlation": length_correlation,
        });
        log.validation(tuning.state.step, loss, &said, figures)?;
        tuning.state.passed = self.stop_at.is_some_and(|enough| accuracy >= enough);
        if tuning.state.keeps(loss) {
            log.pause(|| save(twin, tuning, outputs, &scores))?;
        }
        Ok(())
    }
}

/// Writes the model, adapters merged into it, as others open it; `scores` of reference pairs say how it is normalised.
fn save(
    twin: &RewardModel,
    tuning: &Tuning,
    outputs: &Outputs<'_>,
    scores: &[Scores],
) -> Result<()> {
    let Some(place) = &outputs.place else { return Ok(()) };
    let (config, architecture) = (tuning.config, twin.architecture());
    let description = Description { config, architecture, normalisation: normalisation(scores) };
    let parameters = start::merged(&tuning.parameters, (&config, architecture))?;
    let (folder, keeper) = (place.folder.join("model"), place.keeper);
    model_folder::save(&folder, &description, &parameters, keeper.speech, keeper.ends)?;
    histogram::write(&place.folder.join("rewards.png"), scores, description.normalisation)
}
