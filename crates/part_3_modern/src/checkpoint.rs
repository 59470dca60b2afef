//! A model with its tokenizer and settings, opened from any format (see [`ModelFiles`]).

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use model_io::{
    ChatTemplate, ChatVariables, GenerationConfig, LoadMode, ModelFiles, ModelWeights,
    SpecialTokenIds, Tokenizer, find_adapter, locate_model, model_folder, peft_folder,
};
use tensor_core::Parameters;

use crate::{GptModern, Sampler};

/// Model with its weights, tokenizer and settings.
pub struct Checkpoint {
    /// Model; when opened for inference, a copy that builds no autograd graph.
    pub model: GptModern,
    /// Weights of the model.
    pub parameters: Parameters,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Ids of bos and of the tokens that end a text.
    pub special_ids: SpecialTokenIds,
    /// Sampler recommended by the model's authors, if any (`generation_config.json`).
    pub sampler: Option<Sampler>,
    /// Chat template, if the model was trained for chat.
    pub chat_template: Option<ChatTemplate>,
}

impl Checkpoint {
    /// Opens `source`: a folder, a `.gguf` file, a llama2.c `.bin`, or a model on the Hub; in the
    /// folder of a training run, the model inside it. An adapter, or the run that trained one, is
    /// opened with its base model, for inference only.
    ///
    /// # Errors
    /// When `source` does not exist or cannot be used; the message names the reason and a remedy.
    pub fn open(source: &str, mode: LoadMode, device: &Device) -> Result<Self> {
        let path = locate_model(source)?;
        let Some(adapter) = find_adapter(&path) else {
            return Self::open_model(&path.to_string_lossy(), mode, device);
        };
        if let LoadMode::Training(_) = mode {
            bail!("{source} is an adapter, not a model: write a model with `part_6 merge`");
        }
        let base = peft_folder::base_model(&adapter)?;
        Self::open_with_adapter(&base, &adapter, mode, device)
    }

    /// Opens the model `base` with the adapter in the folder `adapter` and the adapter's chat
    /// template, if it has one. All weights of the base are frozen.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`], and when the adapter does not fit the model.
    pub fn open_with_adapter(
        base: &str,
        adapter: &Path,
        mode: LoadMode,
        device: &Device,
    ) -> Result<Self> {
        let mut checkpoint = Self::open_model(base, mode, device)
            .with_context(|| format!("opening {base}, the base model of the adapter"))?;
        peft_folder::open(adapter, &mut checkpoint.parameters)?;
        let own = ChatTemplate::from_folder(adapter, &checkpoint.tokenizer)?;
        checkpoint.chat_template = own.or(checkpoint.chat_template);
        match mode {
            LoadMode::Training(_) => {
                let config = *checkpoint.model.config();
                let model = GptModern::new(&config, checkpoint.parameters.root())?;
                Ok(Self { model, ..checkpoint })
            }
            LoadMode::Inference | LoadMode::DequantizedInference => checkpoint.into_inference(),
        }
    }

    fn open_model(source: &str, mode: LoadMode, device: &Device) -> Result<Self> {
        let ModelFiles { weights, tokenizer, special_ids, generation, chat_template } =
            ModelFiles::open(source, mode, device)?;
        let (model, parameters) = GptModern::from_weights(weights)?;
        let sampler = generation.map(Sampler::from);
        let checkpoint = Self { model, parameters, tokenizer, special_ids, sampler, chat_template };
        match mode {
            LoadMode::Training(_) => Ok(checkpoint),
            LoadMode::Inference | LoadMode::DequantizedInference => checkpoint.into_inference(),
        }
    }

    /// The checkpoint with these variables of its chat template.
    pub fn with_chat_variables(self, variables: &ChatVariables) -> Self {
        let chat_template = self.chat_template.map(|template| template.with_variables(variables));
        Self { chat_template, ..self }
    }

    /// Model for inference that computes in `dtype`: a copy of the weights, unless that is their
    /// dtype.
    ///
    /// # Errors
    /// When memory is short.
    pub fn inference_model(&self, dtype: DType) -> candle_core::Result<GptModern> {
        let mut view = self.parameters.with_compute_dtype(dtype).for_inference();
        GptModern::new(self.model.config(), view.root())
    }

    /// The checkpoint with an inference copy of the model, which builds no autograd graph.
    ///
    /// # Errors
    /// When memory is short.
    fn into_inference(self) -> Result<Self> {
        let mut inference_parameters = self.parameters.for_inference();
        let model = GptModern::new(self.model.config(), inference_parameters.root())?;
        Ok(Self { model, ..self })
    }

    /// Writes a Hugging Face model folder, which [`Checkpoint::open`] and transformers can open:
    /// the tokenizer and the chat template, the configuration, and last the weights.
    ///
    /// # Errors
    /// When the weights are quantized (open the model for training to save it), or a file cannot be
    /// written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let config = self.model.config();
        model_folder::ensure_unquantized(&self.parameters)?;
        self.tokenizer.save(folder, config.context_len, self.chat_template.as_ref())?;
        let generation = self.sampler.as_ref().map(GenerationConfig::from);
        model_folder::save(folder, config, &self.parameters, &self.special_ids, generation.as_ref())
    }
}

impl GptModern {
    /// Model of these weights, and the weights.
    ///
    /// # Errors
    /// When a tensor is missing, unexpected or of the wrong shape.
    pub fn from_weights(weights: ModelWeights) -> Result<(Self, Parameters)> {
        let ModelWeights { config, mut parameters } = weights;
        let model = Self::new(&config, parameters.root())?;
        parameters.ensure_all_used()?;
        Ok((model, parameters))
    }
}
