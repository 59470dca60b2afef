//! Counter of what reward models and judges could not score as a whole. A conversation that is
//! longer than a reward model's context is read without its beginning, so that the reward may be
//! that of an answer to another prompt: the run logs the share of these and raises an alarm. A
//! language model as a judge gives them 0, and so it does where its reply has no score, which is
//! counted beside them. That no reply has one is an error, which several ranks raise together or
//! not at all.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Result, bail};
use experiment::{Alarm, RunLog};
use ranks::Ranks;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Share of a judge's replies without a score from which a step raises an alarm: their completions
/// get 0, whatever they are worth.
const MAX_WITHOUT_SCORE: f64 = 0.1;

/// Counter of the conversations that the reward models and judges of a run have read. Its clones
/// count together: the reward function adds, and the log reads.
#[derive(Debug, Clone, Default)]
pub struct ScoringCounter {
    counts: Rc<Cell<ScoringCounts>>,
    unscored_error: Rc<RefCell<UnscoredError>>,
}

/// Treatment of the error of a judge none of whose replies has had a score.
#[derive(Debug, Default)]
enum UnscoredError {
    /// It is raised at once.
    #[default]
    Raise,
    /// Its message, if there is one, is deferred until the scores of the other ranks are known.
    Defer(Option<String>),
}

/// Numbers of conversations, and of the replies of a judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoringCounts {
    /// Conversations that a reward model or a judge has read.
    pub n_read: usize,
    /// Conversations that were longer than its context.
    pub n_truncated: usize,
    /// Replies of a judge.
    pub n_replies: usize,
    /// Replies that had no score.
    pub n_without_score: usize,
}

impl ScoringCounter {
    /// Counts so far.
    pub fn counts(&self) -> ScoringCounts {
        self.counts.get()
    }

    /// Adds the conversations of a call of the reward function.
    pub(crate) fn add(&self, n_read: usize, n_truncated: usize) {
        self.add_counts(ScoringCounts { n_read, n_truncated, ..ScoringCounts::default() });
    }

    /// Adds the replies of a judge in a call of the reward function.
    pub(crate) fn add_replies(&self, n_replies: usize, n_without_score: usize) {
        let counts = ScoringCounts { n_replies, n_without_score, ..ScoringCounts::default() };
        self.add_counts(counts);
    }

    fn add_counts(&self, more: ScoringCounts) {
        let counts = self.counts.get();
        self.counts.set(ScoringCounts {
            n_read: counts.n_read + more.n_read,
            n_truncated: counts.n_truncated + more.n_truncated,
            n_replies: counts.n_replies + more.n_replies,
            n_without_score: counts.n_without_score + more.n_without_score,
        });
    }

    /// Checks that a reply has had a score so far, after those of a batch have been added. The
    /// error is `message`; within [`defer_unscored_error`](Self::defer_unscored_error) it is
    /// deferred.
    ///
    /// # Errors
    /// When none has.
    pub(crate) fn ensure_scored(&self, message: impl FnOnce() -> String) -> Result<()> {
        if self.counts().has_scores() {
            return Ok(());
        }
        match &mut *self.unscored_error.borrow_mut() {
            UnscoredError::Raise => bail!(message()),
            UnscoredError::Defer(deferred) => {
                *deferred = Some(message());
                Ok(())
            }
        }
    }

    /// Result of `score`, which scores the share of a rank, and the error that
    /// [`ensure_scored`](Self::ensure_scored) would have raised in it.
    ///
    /// # Errors
    /// Other errors of `score`.
    pub(crate) fn defer_unscored_error<T>(
        &self,
        score: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Option<String>)> {
        self.unscored_error.replace(UnscoredError::Defer(None));
        let result = score();
        match self.unscored_error.take() {
            UnscoredError::Raise => Ok((result?, None)),
            UnscoredError::Defer(deferred) => Ok((result?, deferred)),
        }
    }

    /// Raises the error that this rank or another of the `ranks` has `deferred`, on all of them, if
    /// no reply of any rank has had a score.
    ///
    /// # Errors
    /// That error, and when another rank has ended.
    pub(crate) fn ensure_ranks_scored(
        &self,
        deferred: Option<String>,
        ranks: &Ranks,
    ) -> Result<()> {
        let deferred = ranks.gather(&deferred)?.into_iter().flatten().next();
        match deferred {
            Some(message) if !self.counts().has_scores() => bail!(message),
            _ => Ok(()),
        }
    }

    /// Adds what the other `ranks` have counted since the counts were `before`.
    ///
    /// # Errors
    /// When another rank has ended.
    pub(crate) fn add_other_ranks(&self, before: ScoringCounts, ranks: &Ranks) -> Result<()> {
        let own = self.counts().since(before);
        for (rank, theirs) in ranks.gather(&own)?.into_iter().enumerate() {
            if rank != ranks.rank() {
                self.add_counts(theirs);
            }
        }
        Ok(())
    }

    /// Logs the shares of step `step`, before which the counts were `before`, and raises the alarms
    /// of them. Without a reward model or a judge there is nothing to log.
    ///
    /// # Errors
    /// When a row cannot be written.
    pub fn log(&self, before: ScoringCounts, step: usize, log: &mut RunLog) -> Result<()> {
        let counts = self.counts().since(before);
        if counts.n_read == 0 {
            return Ok(());
        }
        for alarm in counts.alarms() {
            log.alarm(step, &alarm)?;
        }
        let mut row = json!({ "reward_truncated_fraction": counts.truncated_fraction() });
        if counts.n_replies > 0 {
            row["judge_unscored_fraction"] = counts.unscored_fraction().into();
        }
        match log.is_due(step) {
            true => log.row(step, row),
            false => Ok(()),
        }
    }
}

impl ScoringCounts {
    /// Counts since they were `before`.
    fn since(self, before: Self) -> Self {
        Self {
            n_read: self.n_read - before.n_read,
            n_truncated: self.n_truncated - before.n_truncated,
            n_replies: self.n_replies - before.n_replies,
            n_without_score: self.n_without_score - before.n_without_score,
        }
    }

    /// True if a reply has had a score.
    fn has_scores(self) -> bool {
        self.n_replies > self.n_without_score
    }

    /// Share of the conversations that were too long.
    fn truncated_fraction(self) -> f64 {
        self.n_truncated as f64 / self.n_read.max(1) as f64
    }

    /// Share of a judge's replies that had no score.
    fn unscored_fraction(self) -> f64 {
        self.n_without_score as f64 / self.n_replies.max(1) as f64
    }

    /// Alarms of a step with these counts.
    pub(crate) fn alarms(self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let share = self.truncated_fraction();
        if share > 0. {
            let message = format!(
                "{:.0} % of the conversations are longer than the context of what scores them: a \
                 reward model of --reward reads them without their beginning, a judge of \
                 --judge-model gives them 0; take shorter prompts (--max-prompt-length, and \
                 --judge-prompt for a judge), fewer --max-new-tokens, or a model with a longer \
                 context",
                100. * share
            );
            alarms.push(Alarm::new("reward_context_overflow", message).with_severity(share));
        }
        let share = self.unscored_fraction();
        if share > MAX_WITHOUT_SCORE {
            let message = format!(
                "{:.0} % of the judge's replies have no score or were cut before their end, so \
                 their completions get 0: read the notes in completions.jsonl; change \
                 --judge-prompt, or let a judge that thinks answer at once (--judge-template-arg \
                 enable_thinking=false)",
                100. * share
            );
            alarms.push(Alarm::new("judge_without_score", message).with_severity(share));
        }
        alarms
    }

    /// Messages about an evaluation; none if every conversation was read as a whole and scored.
    pub(crate) fn messages(&self) -> Vec<String> {
        let Self { n_read, n_truncated, n_replies, n_without_score } = self;
        let mut messages = Vec::new();
        if *n_truncated > 0 {
            messages.push(format!(
                "{n_truncated} of {n_read} conversations are longer than the reward model's \
                 context, and were read without their beginning or, by a judge, scored 0"
            ));
        }
        if *n_without_score > 0 {
            messages.push(format!(
                "{n_without_score} of {n_replies} replies of the judge have no score and count as 0"
            ));
        }
        messages
    }
}
