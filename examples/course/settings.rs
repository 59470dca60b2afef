//! Settings of a run of the course. They are stored in its folder and reused by `--resume`.

use std::num::NonZeroUsize;

use anyhow::{Context, Error, Result, ensure};
use candle_core::Device;
use clap::Parser;
use experiment::flags::{ComputeFlags, Precision};
use serde::{Deserialize, Serialize};

use crate::Args;

/// Settings that determine the results of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CourseSettings {
    /// True if the stages are short, on numbers of one digit.
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) device: String,
    pub(crate) threads: Option<NonZeroUsize>,
    /// Number format in which all models are trained.
    #[serde(default)]
    pub(crate) dtype: Precision,
}

impl CourseSettings {
    pub(crate) fn from_args(args: &Args) -> Self {
        let ComputeFlags { device, threads, seed } = &args.compute;
        let (device, threads) = (device.to_string(), *threads);
        Self { quick: args.quick, seed: *seed, device, threads, dtype: args.dtype }
    }

    /// Sets the number of threads and opens the device. Must run before other threads start.
    ///
    /// # Errors
    /// When there is no such device, or the number of threads is too large.
    pub(crate) fn open_device(&self) -> Result<Device> {
        let device = self.device.parse().map_err(Error::msg)?;
        ComputeFlags { device, threads: self.threads, seed: self.seed }.open_device()
    }

    /// Flags that are passed to every command that trains.
    pub(crate) fn to_flags(&self) -> Vec<String> {
        let mut flags = vec![format!("--seed={}", self.seed), format!("--device={}", self.device)];
        flags.extend(self.threads.map(|n| format!("--threads={n}")));
        if self.dtype == Precision::Bf16 {
            flags.push("--dtype=bf16".to_string());
        }
        flags
    }

    /// Returns these settings of the run in `folder` if it can be resumed with `requested`. A
    /// requested setting that equals its default counts as not given.
    ///
    /// # Errors
    /// When a requested setting differs from that of the run.
    pub(crate) fn check_resumable(self, requested: &Self, folder: &str) -> Result<Self> {
        let defaults = Self::from_args(&Args::try_parse_from(["course"])?);
        let [requested, saved, defaults] = [requested, &self, &defaults].map(serde_json::to_value);
        let (requested, saved, defaults) = (requested?, saved?, defaults?);
        for (key, value) in requested.as_object().context("the settings are a JSON object")? {
            let saved = &saved[key];
            ensure!(
                value == saved || *value == defaults[key],
                "the run in {folder} was started with {key} {saved} \
                 and cannot be resumed with {key} {value}"
            );
        }
        Ok(self)
    }
}
