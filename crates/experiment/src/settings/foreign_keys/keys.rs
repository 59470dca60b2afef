//! Table of the keys of other projects.

/// Meaning of a key.
pub(super) enum Meaning {
    /// The first of these settings that the command has.
    Setting(&'static [&'static str]),
    /// Nothing, because of this.
    NoEffect(&'static str),
    /// This value alone is possible, because of this.
    Only(bool, &'static str),
    /// `true` stands for this value of a setting.
    Switch(&'static str, &'static str),
    /// Copy of that key, because of this.
    SameAs(&'static str, &'static str),
}

use Meaning::{NoEffect, Only, SameAs, Setting, Switch};

const ONE_TOKENIZER: &str = "a model comes with its tokenizer";
const NO_CODE: &str = "the code of a model is never run";
const SAMPLED: &str = "greedy completions of a prompt are all alike";

/// Keys: those of the PPO tutorial in its sections, then those of the arithmetic GRPO project, and
/// `bf16` of TRL.
pub(super) static KEYS: [(&str, Meaning); 55] = [
    ("model.name", Setting(&["model"])),
    ("model.tokenizer_name", SameAs("model.name", ONE_TOKENIZER)),
    ("model.trust_remote_code", NoEffect(NO_CODE)),
    ("model.torch_dtype", Setting(&["dtype"])),
    ("dataset.name", Setting(&["data"])),
    ("dataset.config", Setting(&["dataset_config"])),
    ("dataset.split", Setting(&["split"])),
    ("dataset.prompt_format", Setting(&["prompt_format"])),
    ("dataset.max_prompt_length", Setting(&["max_prompt_length"])),
    ("dataset.max_gen_length", Setting(&["max_new_tokens"])),
    ("dataset.num_samples", Setting(&["max_train_samples"])),
    ("grpo.group_size", Setting(&["group_size"])),
    ("ppo.learning_rate", Setting(&["lr"])),
    ("ppo.epochs", Setting(&["ppo_epochs", "num_iterations"])),
    ("ppo.batch_size", Setting(&["rollout_batch_size"])),
    ("ppo.mini_batch_size", Setting(&["mini_batch_size", "micro_batch_size"])),
    ("ppo.gradient_accumulation_steps", Setting(&["gradient_accumulation_steps"])),
    ("ppo.kl_coeff", Setting(&["kl_coef"])),
    ("ppo.clip_ratio", Setting(&["clip_range"])),
    ("ppo.clip_range_value", Setting(&["value_clip_range"])),
    ("ppo.vf_coeff", Setting(&["value_coef"])),
    ("ppo.entropy_coeff", Setting(&["entropy_coef"])),
    ("ppo.gamma", Setting(&["gamma"])),
    ("ppo.lam", Setting(&["gae_lambda"])),
    ("ppo.use_8bit_adam", Switch("optim", "adamw_8bit")),
    ("ppo.max_grad_norm", Setting(&["max_grad_norm"])),
    ("ppo.rollout_samples", Setting(&["batch_size"])),
    ("ppo.scheduler", Setting(&["lr_scheduler"])),
    ("ppo.warmup_steps", Setting(&["warmup_steps"])),
    ("ppo.min_lr", Setting(&["min_lr"])),
    ("training.total_ppo_steps", Setting(&["steps"])),
    ("training.seed", Setting(&["seed"])),
    ("training.log_interval", Setting(&["log_interval"])),
    ("training.save_interval", Setting(&["save_interval"])),
    ("training.output_dir", Setting(&["out"])),
    ("training.device", Setting(&["device"])),
    ("training.gradient_checkpointing", Setting(&["gradient_checkpointing"])),
    ("training.num_samples", Setting(&["max_train_samples"])),
    ("generation.max_new_tokens", Setting(&["max_new_tokens"])),
    ("generation.min_new_tokens", Setting(&["min_new_tokens"])),
    ("generation.temperature", Setting(&["temperature"])),
    ("generation.top_k", Setting(&["top_k"])),
    ("generation.top_p", Setting(&["top_p"])),
    ("generation.do_sample", Only(true, SAMPLED)),
    ("wandb.report_to_wandb", Switch("tracker", "wandb")),
    ("wandb.project", Setting(&["wandb_project"])),
    ("wandb.name", Setting(&["run_name"])),
    ("model_name", Setting(&["model"])),
    ("train_file", Setting(&["data"])),
    ("max_completion_length", Setting(&["max_new_tokens"])),
    ("num_train_steps", Setting(&["steps"])),
    ("eval_every", Setting(&["eval_interval"])),
    ("save_every", Setting(&["save_interval"])),
    ("kl_coeff", Setting(&["kl_coef"])),
    ("bf16", Switch("dtype", "bf16")),
];

/// Settings that follow from a key's value (any one if none is named), for commands with a flag:
/// key, value, flag, setting and its value.
pub(super) const IMPLIED: [(&str, Option<&str>, &str, &str, &str); 2] = [
    ("dataset.name", Some("gsm8k"), "task", "task", "gsm8k"),
    // One completion per prompt.
    ("ppo.rollout_samples", None, "ppo_epochs", "group_size", "1"),
];
