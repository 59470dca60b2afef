//! 8.5 Actor-critic: policy and critic with their optimizers, and their checkpoint.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use experiment::TrainState;
use model_io::ModelConfig;
use modern::{GptModern, GradientCheckpointing};
use ranks::Ranks;
use serde::{Deserialize, Serialize};
use sft::ModelSaver;
use tensor_core::{OptimizerConfig, Parameters, json_file};

use crate::alarms::PpoAlarms;
use crate::critic::{Critic, CriticBackbone, new_critic};
use crate::kl::KlController;

/// Progress of the training loop; another name would break the checkpoints of existing runs.
const PROGRESS_FILE: &str = "loop.json";

/// Policy and critic in training.
pub struct ActorCritic {
    /// Architecture of the policy.
    pub config: ModelConfig,
    /// Train state of the policy; its step counts rollouts.
    pub policy: TrainState,
    /// Train state of the critic.
    pub critic: TrainState,
    /// Backbone of the critic.
    pub backbone: CriticBackbone,
    /// Gradient checkpointing of both in the update.
    pub gradient_checkpointing: GradientCheckpointing,
    /// Progress beside the tensors.
    pub progress: PpoProgress,
    /// Identities of the reference model and the reward function.
    pub run_inputs: RunInputs,
}

/// Progress of a PPO run beside its tensors, part of the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PpoProgress {
    /// Current KL coefficient.
    #[serde(alias = "kl_price")]
    pub kl_coef: f64,
    /// Optimizer steps taken.
    pub updates: usize,
    /// State of the health checks.
    pub alarms: PpoAlarms,
}

/// Run inputs: the reference model and the reward function that a run started with, by content. A
/// run does not copy them, so resuming checks that they are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInputs {
    /// Hash of the reference's weights.
    pub reference: String,
    /// Name of a reward rule, or hash of a reward model's weights.
    #[serde(alias = "scorer")]
    pub reward_fn: String,
}

impl RunInputs {
    /// Inputs with these identities, which all ranks of this process must have.
    ///
    /// # Errors
    /// When one has others.
    pub fn of_all_ranks(reference: String, reward_fn: String) -> Result<Self> {
        let inputs = Self { reference, reward_fn };
        let ranks = Ranks::of_process()?;
        ranks.ensure_same(&inputs.reference, "model (--model, --reference)")?;
        ranks.ensure_same(&inputs.reward_fn, "reward function (--reward)")?;
        Ok(inputs)
    }

    /// Checks that a run that started with `self` can be resumed with `these`.
    ///
    /// # Errors
    /// Names the input that differs.
    pub fn ensure_same_as(&self, these: &Self) -> Result<()> {
        ensure!(
            self.reference == these.reference,
            "the run started with another reference model, or from other weights, than it is \
             given now"
        );
        let or_earlier = match self.reward_fn.contains("judge ") {
            true => {
                "; or with a quantized judge in an earlier version, which did not record its \
                 quantized weights: such a run cannot be resumed"
            }
            false => "",
        };
        ensure!(
            self.reward_fn == these.reward_fn,
            "the run started with another reward function than --reward names now{or_earlier}"
        );
        Ok(())
    }
}

/// Models over the parameters of an [`ActorCritic`], in the same memory.
#[derive(Debug, Clone)]
pub struct PpoModels {
    /// Policy for training, with gradients.
    pub policy: GptModern,
    /// Critic for training, with gradients.
    pub critic: Critic,
    /// Policy for rollouts, without a graph.
    pub rollout_policy: GptModern,
    /// Critic for rollouts, without a graph.
    pub rollout_critic: Critic,
}

impl PpoModels {
    /// Builds the models for training again if they have rounded copies of the weights of `policy`
    /// and `critic`: see [`GptModern::refresh`].
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh(&mut self, policy: &mut Parameters, critic: &mut Parameters) -> Result<()> {
        self.policy.refresh(policy)?;
        self.critic.refresh(critic)
    }

    /// Like [`refresh`](Self::refresh) for the models for rollouts, which are not used between the
    /// minibatches of a step.
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh_for_rollouts(&mut self, policy: &Parameters, critic: &Parameters) -> Result<()> {
        self.rollout_policy.refresh(&mut policy.for_inference())?;
        self.rollout_critic.refresh(&mut critic.for_inference())
    }
}

impl ActorCritic {
    /// Actor-critic of `policy` and a new critic whose value head is zero-initialized.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(
        config: ModelConfig,
        policy: TrainState,
        backbone: CriticBackbone,
        optimizer: OptimizerConfig,
        kl_controller: KlController,
    ) -> Result<Self> {
        let critic = new_critic(backbone, &config, &policy.parameters, optimizer)?;
        let kl_coef = kl_controller.init_kl_coef();
        let progress = PpoProgress { kl_coef, updates: 0, alarms: PpoAlarms::default() };
        let (gradient_checkpointing, run_inputs) =
            (GradientCheckpointing::Off, RunInputs::default());
        Ok(Self { config, policy, critic, backbone, gradient_checkpointing, progress, run_inputs })
    }

    /// Models over these parameters.
    ///
    /// # Errors
    /// When memory is short.
    pub fn models(&mut self) -> Result<PpoModels> {
        let (config, checkpointing) = (self.config, self.gradient_checkpointing);
        let mut critic_view = self.critic.parameters.for_inference();
        let policy = GptModern::new(&config, self.policy.parameters.root())?;
        let critic = &mut self.critic.parameters;
        Ok(PpoModels {
            policy: policy.with_gradient_checkpointing(checkpointing),
            critic: Critic::from_parameters(critic, self.backbone, &config)?
                .with_gradient_checkpointing(checkpointing),
            rollout_policy: GptModern::new(&config, self.policy.parameters.for_inference().root())?,
            rollout_critic: Critic::from_parameters(&mut critic_view, self.backbone, &config)?,
        })
    }

    /// Saves a checkpoint into `folder`; `data` identifies the training data. With a `saver`, its
    /// `policy/` is a model folder, too.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data: &str, saver: Option<&ModelSaver>) -> Result<()> {
        let [policy, critic] = ["policy", "critic"].map(|name| folder.join(name));
        for folder in [&policy, &critic] {
            std::fs::create_dir(folder)
                .with_context(|| format!("creating {}", folder.display()))?;
        }
        match saver {
            Some(saver) => saver.save_checkpoint(&policy, &self.policy, data)?,
            None => self.policy.save(&policy, data)?,
        }
        self.critic.save(&critic, data)?;
        json_file::write(&folder.join(PROGRESS_FILE), &(&self.progress, &self.run_inputs))
    }

    /// Restores the checkpoint in `folder`.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model, other data or other [`RunInputs`].
    pub fn restore(&mut self, folder: &Path, data: &str) -> Result<()> {
        let path = folder.join(PROGRESS_FILE);
        let (progress, run_inputs): (PpoProgress, RunInputs) =
            serde_json::from_value(json_file::read(&path)?).with_context(|| {
                format!("{} is not the progress file of a PPO run", path.display())
            })?;
        run_inputs.ensure_same_as(&self.run_inputs)?;
        self.policy.restore(&folder.join("policy"), data)?;
        self.critic.restore(&folder.join("critic"), data)?;
        self.progress = progress;
        Ok(())
    }
}
