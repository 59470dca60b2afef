//! Data files that a name stands for: a file, or those of one split in a folder or in a data set of
//! the Hub.

mod file_name;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use file_name::{DEFAULT_CONFIG, DataFile, EXTENSIONS};
use model_io::{fetch_dataset, fetch_dataset_file, is_dataset_id};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tensor_core::regular_file;

use crate::mixture::{Mixture, StoppingStrategy};

/// Part of a folder, or of a data set of the Hub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[command(next_help_heading = "Data")]
pub struct DatasetFlags {
    /// Configuration of a folder or a data set of the Hub [default: `default`, or the only one]
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub dataset_config: Option<String>,
    /// Split of a folder or a data set of the Hub [default: train]
    #[arg(
        long, visible_aliases = ["dataset-split", "dataset-train-split"], value_name = "NAME"
    )]
    #[serde(default)]
    pub split: Option<String>,
    /// End of a mixture [default: first_exhausted]
    #[arg(long, value_enum)]
    #[serde(default)]
    pub stopping_strategy: Option<StoppingStrategy>,
}

impl DatasetFlags {
    /// Sources of `data` if it is a mixture; `open` opens one by its name.
    ///
    /// # Errors
    /// Those of [`Mixture::parse`] and of `open`.
    pub fn open_mixture<S>(
        &self,
        data: &str,
        open: impl Fn(&str) -> Result<S>,
    ) -> Result<Option<Mixture<S>>> {
        let mixture = Mixture::parse(data, self.stopping_strategy.unwrap_or_default())?;
        mixture.map(|mixture| mixture.map(|name| open(name))).transpose()
    }

    /// Paths of the data called `name`: a file; a folder; or, downloaded from the Hub, a file
    /// (`owner/name:file.jsonl`) or a data set (`owner/name`).
    ///
    /// # Errors
    /// When the download fails; when there is no such configuration or split, or it has to be
    /// chosen; when one is chosen of a single file.
    pub fn locate(&self, name: &str) -> Result<Vec<PathBuf>> {
        if let Some((id, config)) = short_name(name) {
            let config = self.dataset_config.clone().unwrap_or(config.into());
            return Self { dataset_config: Some(config), ..self.clone() }.locate(id);
        }
        if is_dataset(name) {
            return fetch_dataset(name, &|names| self.select(names));
        }
        let folder = Path::new(name);
        if folder.is_dir() {
            let names = regular_file::list(folder)?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let selected = self.select(&names).with_context(|| format!("{name} cannot be used"))?;
            return Ok(selected.into_iter().map(|file| folder.join(file)).collect());
        }
        self.ensure_unused(name)?;
        Ok(vec![if is_dataset_id(name) { fetch_dataset_file(name)? } else { name.into() }])
    }

    /// Checks that neither flag is given, because the data `name` have no parts.
    ///
    /// # Errors
    /// When one is given.
    pub fn ensure_unused(&self, name: &str) -> Result<()> {
        ensure!(
            self.dataset_config.is_none() && self.split.is_none(),
            "--split and --dataset-config are for folders and data sets of the Hub; --data {name} \
             is neither"
        );
        Ok(())
    }

    /// Flags for the evaluation data `name`: the same configuration, and the split `split`, else
    /// `test`; neither for a file.
    #[must_use]
    pub fn for_evaluation(&self, name: &str, split: Option<&str>) -> Self {
        let split = split.map(str::to_string);
        let has_splits = is_dataset(name) || short_name(name).is_some();
        if !has_splits && !Path::new(name).is_dir() {
            return Self { split, ..Self::default() };
        }
        Self { split: split.or(Some("test".into())), ..self.clone() }
    }

    /// Flags of the run with these `settings`.
    pub fn of_run(settings: &Value) -> Self {
        serde_json::from_value(settings.clone()).unwrap_or_default()
    }

    /// True if the run with these `settings` has the data `name` with flags that mean the same.
    pub fn is_data_of(&self, settings: &Value, name: &str) -> bool {
        let data = settings["data"].as_str();
        self.part() == Self::of_run(settings).part()
            && data.is_some_and(|data| is_same_file(data, name))
    }

    /// True if the data `name` and those of the run with these `settings` have a file in common, as
    /// a mixture has with each of its sources. Of data on the Hub, the name and the split are
    /// compared.
    pub fn shares_files_with(&self, settings: &Value, name: &str) -> bool {
        let theirs = |data: &str| Self::of_run(settings).files(data);
        let data = settings["data"].as_str();
        data.is_some_and(|data| !self.files(name).is_disjoint(&theirs(data)))
    }

    /// Configuration, split and end of a mixture, with their defaults.
    fn part(&self) -> (Option<&str>, &str, StoppingStrategy) {
        let split = self.split.as_deref().unwrap_or("train");
        (self.dataset_config.as_deref(), split, self.stopping_strategy.unwrap_or_default())
    }

    /// Files of the data `name`, which may be a mixture; of other data, its name and split.
    fn files(&self, name: &str) -> BTreeSet<String> {
        let mixture = Mixture::parse(name, StoppingStrategy::default()).ok().flatten();
        let names: Vec<String> = match mixture {
            Some(mixture) => mixture.sources.into_iter().map(|(name, _)| name).collect(),
            None => vec![name.to_string()],
        };
        names.iter().flat_map(|name| self.files_of_source(name)).collect()
    }

    fn files_of_source(&self, name: &str) -> Vec<String> {
        let path = Path::new(name);
        if !path.exists() {
            let id = short_name(name).map_or(name, |(id, _)| id);
            return vec![format!("{id} {}", self.part().1)];
        }
        let files = self.locate(name).unwrap_or_else(|_| vec![path.to_path_buf()]);
        let canonical = |file: &PathBuf| fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        files.iter().map(|file| canonical(file).to_string_lossy().into_owned()).collect()
    }

    /// Files of the configuration and split among files with these `names`, in order.
    ///
    /// # Errors
    /// When there are none, with the names that there are.
    pub(crate) fn select(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut files: Vec<DataFile> =
            names.iter().filter_map(|name| DataFile::of_name(name)).collect();
        files.sort_by(|a, b| a.name.cmp(b.name));
        if files.iter().any(DataFile::is_parquet) {
            files.retain(DataFile::is_parquet);
        }
        ensure!(!files.is_empty(), "it has no files of rows ({})", EXTENSIONS.join(", "));
        let configs: BTreeSet<&str> = files.iter().map(|file| file.config.as_str()).collect();
        let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
        let config = match (&self.dataset_config, configs.first()) {
            (Some(config), _) => config.as_str(),
            (None, Some(only)) if configs.len() == 1 => only,
            _ => DEFAULT_CONFIG,
        };
        ensure!(
            configs.contains(config),
            "choose one of its configurations by --dataset-config: {}",
            list(&configs)
        );
        let files: Vec<&DataFile> = files.iter().filter(|file| file.config == config).collect();
        let splits: BTreeSet<&str> = files.iter().map(|file| file.split.as_str()).collect();
        let split = self.split.as_deref().unwrap_or("train");
        ensure!(
            splits.contains(split),
            "it has no split `{split}`: choose one of its splits by --split: {}",
            list(&splits)
        );
        let selected: Vec<&DataFile> =
            files.iter().copied().filter(|file| file.split == split).collect();
        for (n, file) in selected.iter().enumerate() {
            let is_next = file.shard.is_none_or(|shard| {
                shard.number == n && shard.of.is_none_or(|of| of == selected.len())
            });
            ensure!(is_next, "files of its split `{split}` are missing beside {}", file.name);
        }
        Ok(selected.iter().map(|file| file.name.to_string()).collect())
    }
}

/// Whether two names of data are the same: equal, or paths of one file.
pub fn is_same_file(a: &str, b: &str) -> bool {
    let canonical = |name: &str| fs::canonicalize(name).ok();
    a == b || canonical(a).is_some_and(|a| canonical(b) == Some(a))
}

/// Data set of the Hub and its usual configuration that `name` stands for, unless it is a file's.
fn short_name(name: &str) -> Option<(&'static str, &'static str)> {
    (name == "gsm8k" && !Path::new(name).exists()).then_some(("openai/gsm8k", "main"))
}

/// True if `name` is a whole data set of the Hub.
fn is_dataset(name: &str) -> bool {
    is_dataset_id(name) && !name.contains(':')
}
