//! What a run of the course was begun with, and goes on with.

use std::num::NonZeroUsize;

use anyhow::{Context, Error, Result, ensure};
use candle_core::Device;
use clap::Parser;
use serde::{Deserialize, Serialize};
use tiny_gpt::flags::ComputeFlags;

use crate::Args;

/// What decides where a run arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CourseSettings {
    /// Whether its stages are too short to learn much.
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) device: String,
    pub(crate) threads: Option<NonZeroUsize>,
}

impl CourseSettings {
    pub(crate) fn from_args(args: &Args) -> Self {
        let ComputeFlags { device, threads, seed } = &args.compute;
        Self { quick: args.quick, seed: *seed, device: device.to_string(), threads: *threads }
    }

    /// Sets the threads and opens the device; before there is a second thread.
    ///
    /// # Errors
    /// When there is no such device, or there are to be too many threads.
    pub(crate) fn open_device(&self) -> Result<Device> {
        let device = self.device.parse().map_err(Error::msg)?;
        ComputeFlags { device, threads: self.threads, seed: self.seed }.open_device()
    }

    /// The flags that every command gets.
    pub(crate) fn to_flags(&self) -> Vec<String> {
        let mut flags = vec![format!("--seed={}", self.seed), format!("--device={}", self.device)];
        flags.extend(self.threads.map(|n| format!("--threads={n}")));
        flags
    }

    /// What a run in `place` that was begun with these goes on with where a user asks for `asked`: these.
    ///
    /// # Errors
    /// When the user asked for something else; what is usual is not asked for.
    pub(crate) fn check_resumable(self, asked: &Self, place: &str) -> Result<Self> {
        let usual = Self::from_args(&Args::try_parse_from(["course"])?);
        let [now, begun, usual] = [asked, &self, &usual].map(serde_json::to_value);
        let (now, begun, usual) = (now?, begun?, usual?);
        for (key, value) in now.as_object().context("settings have names")? {
            let before = &begun[key];
            ensure!(
                value == before || *value == usual[key],
                "the run in {place} was begun with {key} {before}, and this is {key} {value}"
            );
        }
        Ok(self)
    }
}
