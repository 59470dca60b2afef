//! 8.4 Who learns: a policy and its critic, with the optimizer of each; what a checkpoint holds.

use std::path::Path;

use anyhow::{Context, Result};
use modern::GptModern;
use serde::{Deserialize, Serialize};
use sft::TrainState;
use tensor_core::AdamWConfig;
use tiny_gpt::json_file;

use crate::alarms::PpoAlarms;
use crate::critic::{Critic, CriticBackbone, new_critic};
use crate::kl::KlController;
use crate::run_inputs::RunInputs;

const PROGRESS_FILE: &str = "loop.json";

/// A policy and its critic in training.
pub struct ActorCritic {
    /// The policy. Its step counts rollouts.
    pub policy: TrainState,
    /// The critic: a head, or a network with a head.
    pub critic: TrainState,
    /// On which network values are guessed.
    pub backbone: CriticBackbone,
    /// What changes beside tensors.
    pub progress: PpoProgress,
    /// What it was begun with and does not hold.
    pub run_inputs: RunInputs,
}

/// What a learner knows beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PpoProgress {
    /// What a nat of KL costs now.
    #[serde(alias = "kl_price")]
    pub kl_coef: f64,
    /// Steps of the optimizers.
    pub updates: usize,
    /// Which alarms ring.
    pub alarms: PpoAlarms,
}

/// The models of a learner, on its memory.
#[derive(Debug, Clone)]
pub struct PpoModels {
    /// The policy in training.
    pub policy: GptModern,
    /// The critic in training.
    pub critic: Critic,
    /// The policy's twin that writes.
    pub rollout_policy: GptModern,
    /// The critic's twin that guesses without a graph.
    pub rollout_critic: Critic,
}

impl ActorCritic {
    /// One that begins with this policy, and a critic that guesses 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(
        policy: TrainState,
        trunk: CriticBackbone,
        optimizer: AdamWConfig,
        price: KlController,
    ) -> Result<Self> {
        let critic = new_critic(trunk, &policy.config, &policy.parameters, optimizer)?;
        let state =
            PpoProgress { kl_coef: price.init_kl_coef(), updates: 0, alarms: PpoAlarms::default() };
        Ok(Self {
            policy,
            critic,
            backbone: trunk,
            progress: state,
            run_inputs: RunInputs::default(),
        })
    }

    /// Its models.
    ///
    /// # Errors
    /// When memory is short.
    pub fn models(&mut self) -> Result<PpoModels> {
        let config = self.policy.config;
        let mut twin = self.critic.parameters.for_inference();
        Ok(PpoModels {
            policy: GptModern::new(&config, self.policy.parameters.root())?,
            critic: Critic::from_parameters(&mut self.critic.parameters, self.backbone, &config)?,
            rollout_policy: GptModern::new(&config, self.policy.parameters.for_inference().root())?,
            rollout_critic: Critic::from_parameters(&mut twin, self.backbone, &config)?,
        })
    }

    /// Writes the checkpoint `folder`; `data` names what it was trained on.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data: &str) -> Result<()> {
        for (name, tuning) in [("policy", &self.policy), ("critic", &self.critic)] {
            let folder = folder.join(name);
            std::fs::create_dir(&folder)
                .with_context(|| format!("creating {}", folder.display()))?;
            tuning.save(&folder, data)?;
        }
        json_file::write(&folder.join(PROGRESS_FILE), &(&self.progress, &self.run_inputs))
    }

    /// Goes back, or on, to the checkpoint `folder` of such a learner.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model, other data or other [`Origins`].
    pub fn restore(&mut self, folder: &Path, data: &str) -> Result<()> {
        let path = folder.join(PROGRESS_FILE);
        let (state, origins): (PpoProgress, RunInputs) =
            serde_json::from_value(json_file::read(&path)?)
                .with_context(|| format!("{} is no state of a run", path.display()))?;
        origins.ensure_same_as(&self.run_inputs)?;
        self.policy.restore(&folder.join("policy"), data)?;
        self.critic.restore(&folder.join("critic"), data)?;
        self.progress = state;
        Ok(())
    }
}
