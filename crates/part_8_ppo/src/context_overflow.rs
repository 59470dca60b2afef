//! Conversations that are longer than a reward model's context. It reads them without their
//! beginning, so that the reward may be that of an answer to another prompt: the run counts them,
//! logs their share and raises an alarm. A language model as a judge gives them 0.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::Result;
use experiment::{Alarm, RunLog};
use ranks::Ranks;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Counter of the conversations that the reward models of a run have read. Its clones count
/// together: the reward function adds, and the log reads.
#[derive(Debug, Clone, Default)]
pub struct ContextOverflow(Rc<Cell<OverflowCounts>>);

/// Numbers of conversations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverflowCounts {
    /// Conversations that a reward model has read.
    pub n_read: usize,
    /// Conversations that were longer than its context.
    pub n_truncated: usize,
}

impl ContextOverflow {
    /// Counts so far.
    pub fn counts(&self) -> OverflowCounts {
        self.0.get()
    }

    /// Adds the conversations of a call of the reward function.
    pub(crate) fn add(&self, n_read: usize, n_truncated: usize) {
        let counts = self.0.get();
        self.0.set(OverflowCounts {
            n_read: counts.n_read + n_read,
            n_truncated: counts.n_truncated + n_truncated,
        });
    }

    /// Adds what the other `ranks` have counted since the counts were `before`.
    ///
    /// # Errors
    /// When another rank has ended.
    pub(crate) fn add_other_ranks(&self, before: OverflowCounts, ranks: &Ranks) -> Result<()> {
        let counts = self.counts();
        let own = OverflowCounts {
            n_read: counts.n_read - before.n_read,
            n_truncated: counts.n_truncated - before.n_truncated,
        };
        for (rank, theirs) in ranks.gather(&own)?.into_iter().enumerate() {
            if rank != ranks.rank() {
                self.add(theirs.n_read, theirs.n_truncated);
            }
        }
        Ok(())
    }

    /// Logs the share of step `step`, before which the counts were `before`, and raises an alarm if
    /// it is not 0. Without a reward model there is nothing to log.
    ///
    /// # Errors
    /// When a row cannot be written.
    pub fn log(&self, before: OverflowCounts, step: usize, log: &mut RunLog) -> Result<()> {
        let counts = self.counts();
        let n_read = counts.n_read - before.n_read;
        if n_read == 0 {
            return Ok(());
        }
        let share = (counts.n_truncated - before.n_truncated) as f64 / n_read as f64;
        if share > 0. {
            let message = format!(
                "{:.0} % of the conversations are longer than the context of what scores them: a \
                 reward model of --reward reads them without their beginning, a judge of \
                 --judge-model gives them 0; take shorter prompts (--max-prompt-length, and \
                 --judge-prompt for a judge), fewer --max-new-tokens, or a model with a longer \
                 context",
                100. * share
            );
            let alarm = Alarm::new("reward_context_overflow", message).with_severity(share);
            log.alarm(step, &alarm)?;
        }
        match log.is_due(step) {
            true => log.row(step, json!({ "reward_truncated_fraction": share })),
            false => Ok(()),
        }
    }
}

impl OverflowCounts {
    /// Message about an evaluation; `None` if no conversation was truncated.
    pub(crate) fn message(&self) -> Option<String> {
        let Self { n_read, n_truncated } = self;
        (*n_truncated > 0).then(|| {
            format!(
                "{n_truncated} of {n_read} conversations are longer than the reward model's \
                 context, and were read without their beginning or, by a judge, scored 0"
            )
        })
    }
}
