//! Name of a data file in a folder, which may hold several configurations and splits. Which file
//! belongs to what follows from its name, by the layouts that `datasets` writes and that the Hub
//! converts to:
//!
//! ```text
//! train.jsonl, data/dev.json, test/a.jsonl.gz      word of the name or of a folder
//! data/train_sft-00000-of-00003.parquet            anything before the number of the shard
//! main/test/0000.parquet                           folder around the number of the shard
//! ```
//! Folders that say neither name a configuration; a file that names no split is for training.

/// Ends of the names of data files. Parquet, if there is any, is taken alone: a repository that has
/// it may hold the same rows as JSON.
pub(super) const EXTENSIONS: [&str; 5] = [".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz"];
/// Words that name a split.
const SPLIT_WORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];
/// Configuration of files in no folder of their own.
pub(super) const DEFAULT_CONFIG: &str = "default";

/// Configuration, split and shard of a data file, as its name says.
pub(super) struct DataFile<'a> {
    pub(super) name: &'a str,
    pub(super) config: String,
    pub(super) split: String,
    pub(super) shard: Option<Shard>,
}

/// Place of a file among those of a split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shard {
    pub(super) number: usize,
    /// Number of files, if the name says it.
    pub(super) of: Option<usize>,
}

impl<'a> DataFile<'a> {
    /// `None` for a file of another kind, and for the first part of a split that the Hub has not
    /// converted as a whole.
    pub(super) fn of_name(name: &'a str) -> Option<Self> {
        let stem = EXTENSIONS.iter().find_map(|end| name.strip_suffix(end))?;
        let mut folders: Vec<&str> = stem.split('/').collect();
        let file = folders.pop()?;
        if ["dataset_info", "dataset_infos", "dataset_dict", "state"].contains(&file) {
            return None; // about the data
        }
        let (split, shard) = if let Ok(number) = file.parse() {
            let split = folders.pop()?;
            if split.starts_with("partial-") {
                return None;
            }
            (split.to_string(), Some(Shard { number, of: None }))
        } else if let Some((split, shard)) = split_shard(file) {
            (split.to_string(), Some(shard))
        } else {
            let named = split_of(file).or_else(|| {
                let (at, split) = folders
                    .iter()
                    .enumerate()
                    .find_map(|(at, folder)| Some((at, split_of(folder)?)))?;
                folders.remove(at);
                Some(split)
            });
            (named.unwrap_or("train").to_string(), None)
        };
        folders.retain(|&folder| folder != "data");
        let config = match folders.is_empty() {
            true => DEFAULT_CONFIG.to_string(),
            false => folders.join("/"),
        };
        Some(Self { name, config, split, shard })
    }

    pub(super) fn is_parquet(&self) -> bool {
        self.name.ends_with(EXTENSIONS[0])
    }
}

/// Split and shard of a name such as `train-00000-of-00002`.
fn split_shard(file: &str) -> Option<(&str, Shard)> {
    let (rest, of) = file.rsplit_once("-of-")?;
    let (split, number) = rest.rsplit_once('-')?;
    Some((split, Shard { number: number.parse().ok()?, of: Some(of.parse().ok()?) }))
}

/// Split that a word of `name` stands for.
fn split_of(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|word| {
        SPLIT_WORDS.iter().find(|(_, names)| names.contains(&word)).map(|(split, _)| *split)
    })
}
