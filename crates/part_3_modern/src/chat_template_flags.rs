//! Flags of the variables of a model's chat template, and the variables that a run recorded.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use experiment::RunFolder;
use experiment::settings::SettingsFlags;
use model_io::{ChatArguments, ChatDate, ChatVariables};
use serde::{Serialize, Serializer};

/// Variables of the model's chat template.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub struct ChatTemplateFlags {
    /// Variable of the model's chat template, for example enable_thinking=false; may be repeated
    /// [default: those of the run]
    #[arg(long, value_name = "NAME=VALUE")]
    pub chat_template_arg: Vec<ChatArguments>,
    /// Date that the chat template gives the model, as 2026-07-31 [default: that of the run, else
    /// today]
    #[arg(long, value_name = "DATE")]
    pub chat_date: Option<ChatDate>,
}

impl ChatTemplateFlags {
    /// Variables of a model: those of the run that `model` is or belongs to, if there is one,
    /// changed by the flags.
    ///
    /// # Errors
    /// When the settings of the run cannot be read.
    pub fn variables(&self, model: &str) -> Result<ChatVariables> {
        let run = variables_of_run(Path::new(model))?;
        let arguments = std::iter::once(run.arguments).chain(self.chat_template_arg.clone());
        Ok(ChatVariables { date: self.chat_date.or(run.date), arguments: arguments.collect() })
    }
}

/// Variables of the model's chat template, which a run records with its settings: resumed and
/// evaluated on another day, it gives the model the same prompts.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Model")]
pub struct RunChatTemplateFlags {
    /// Variable of the model's chat template, for example enable_thinking=false; may be repeated
    /// [default: those of the run that --model names]
    #[arg(long, value_name = "NAME=VALUE")]
    #[serde(serialize_with = "as_one_setting")]
    pub chat_template_arg: Vec<ChatArguments>,
    /// Date that the chat template gives the model, as 2026-07-31 [default: today]
    #[arg(
        long, value_name = "DATE", default_value_t = ChatDate::today(), hide_default_value = true
    )]
    pub chat_date: ChatDate,
}

impl RunChatTemplateFlags {
    /// Takes over the arguments of the run that `model` is or belongs to, if there is one; those of
    /// the flags come after them. A resumed run has its own.
    ///
    /// # Errors
    /// When the settings of the run cannot be read.
    pub fn inherit_args(&mut self, model: &str, settings: &SettingsFlags) -> Result<()> {
        if settings.resume {
            return Ok(());
        }
        let run = variables_of_run(Path::new(model))?;
        self.chat_template_arg.insert(0, run.arguments);
        Ok(())
    }

    /// Variables of the run.
    pub fn variables(&self) -> ChatVariables {
        let arguments = self.chat_template_arg.iter().cloned().collect();
        ChatVariables { date: Some(self.chat_date), arguments }
    }
}

/// Variables that the run of the model at `path` recorded; none if it belongs to no run.
///
/// # Errors
/// When the settings of the run cannot be read.
pub fn variables_of_run(path: &Path) -> Result<ChatVariables> {
    let Some(settings) = RunFolder::settings_of_model(path)? else {
        return Ok(ChatVariables::default());
    };
    let text = |key: &str| settings[key].as_str();
    let (date, arguments) = (text("chat_date"), text("chat_template_arg"));
    Ok(ChatVariables {
        date: date.map(str::parse).transpose()?,
        arguments: arguments.map(str::parse).transpose()?.unwrap_or_default(),
    })
}

/// All arguments as one setting, the text of a JSON object; null if there are none.
///
/// # Errors
/// Those of `serializer`.
pub fn as_one_setting<S: Serializer>(
    arguments: &[ChatArguments],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let all: ChatArguments = arguments.iter().cloned().collect();
    match all.0.is_empty() {
        true => serializer.serialize_none(),
        false => serializer.serialize_str(&serde_json::Value::Object(all.0).to_string()),
    }
}
