//! Flags of preferences, for this part and later ones.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use tiny_gpt::command::usage;

use crate::{Columns, Source};

/// What is learned from, or measured on.
#[derive(Debug, Clone, Serialize, Args)]
pub struct PreferenceFlags {
    /// arithmetic, manners, a .json or .jsonl file (perhaps .gz), or owner/name:file.jsonl on the Hub
    #[arg(long, value_name = "DATA", default_value = "arithmetic")]
    pub data: String,
    /// Which columns hold what, as prompt=A,chosen=B,rejected=C [default: by those names]
    #[arg(long, value_name = "MAP")]
    pub columns: Option<String>,
}

impl PreferenceFlags {
    /// Where the preferences come from, and how they are laid out.
    ///
    /// # Errors
    /// When the columns are no map, or the data cannot be downloaded.
    pub fn open(&self) -> Result<(Source, Columns)> {
        let columns = usage(self.columns.as_deref().map(Columns::parse).transpose())?;
        Ok((Source::named(&self.data)?, columns.unwrap_or_default()))
    }
}
