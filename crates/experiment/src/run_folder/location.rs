//! Location of a run: the files and folders by which a run folder is recognized, and the run that a
//! model belongs to.

use std::path::{Path, PathBuf};

use crate::checkpoints::STEP_PREFIX;

/// Settings of a run.
pub(super) const CONFIG: &str = "config.json";
/// Log of a run.
pub(super) const METRICS: &str = "metrics.jsonl";
/// Checkpoints of a run.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Folder of the last model of a run, if it is not the best.
pub(crate) const LAST_MODEL: &str = "final";
/// Folders of the models of a run.
pub(super) const MODEL_FOLDERS: [&str; 3] = ["model", "adapter", LAST_MODEL];

/// True if the folder `path` holds a run: its log, or at least its checkpoints.
pub(super) fn holds_run(path: &Path) -> bool {
    path.join(METRICS).exists() || path.join(CHECKPOINTS).exists()
}

/// Folder of the run that `path` is or, as one of its models, belongs to.
pub(super) fn enclosing_run(path: &Path) -> Option<PathBuf> {
    let is_run = |path: &&Path| holds_run(path) && path.join(CONFIG).exists();
    if is_run(&path) {
        return Some(path.to_path_buf());
    }
    let parent = path.parent()?;
    let is_model = MODEL_FOLDERS.iter().any(|name| path.ends_with(name));
    // A checkpoint of part 8 has its policy in a folder.
    let run = match is_model {
        true => Some(parent),
        false => run_of_checkpoint(path).or_else(|| run_of_checkpoint(parent)),
    };
    run.filter(is_run).map(Path::to_path_buf)
}

/// Folder around `checkpoints/step-N`, if `path` is such a folder.
fn run_of_checkpoint(path: &Path) -> Option<&Path> {
    let is_step = path.file_name()?.to_str()?.starts_with(STEP_PREFIX);
    let checkpoints = path.parent().filter(|parent| is_step && parent.ends_with(CHECKPOINTS))?;
    checkpoints.parent()
}
