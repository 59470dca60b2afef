//! Runs that led to a model: that which it belongs to, that of the model which this one started
//! from, and so on. An evaluation leaves out the rows that any of them was trained on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::RunFolder;
use crate::terminal::printable;

/// First folder of the paths of runs by default, such as `runs/sft`.
const RUNS: &str = "runs";
/// File extensions of models that are one file, of which none is a run.
const MODEL_EXTENSIONS: [&str; 2] = [".gguf", ".bin"];

/// Runs that led to the model at `path`, the latest first, each with its folder and its settings,
/// in which the paths of data are as they are found today. A warning says if the model of one of
/// them is not there any more, so that earlier ones are not known.
///
/// # Errors
/// When settings cannot be read.
pub fn runs_of_model(path: &Path) -> Result<Vec<(PathBuf, Value)>> {
    let TracedRuns { runs, warning } = trace_runs(path)?;
    warning.iter().for_each(|warning| eprintln!("warning: {}", printable(warning)));
    Ok(runs)
}

/// Settings of the runs that led to the model at `path`, as [`runs_of_model`] finds them.
///
/// # Errors
/// When they cannot be read.
pub fn settings_of_runs(path: &Path) -> Result<Vec<Value>> {
    Ok(runs_of_model(path)?.into_iter().map(|(_, settings)| settings).collect())
}

/// Runs that led to a model, as far as they are known.
#[derive(Debug)]
pub(crate) struct TracedRuns {
    /// Folders and settings, the latest first.
    pub(crate) runs: Vec<(PathBuf, Value)>,
    /// Warning, if earlier runs are not known.
    pub(crate) warning: Option<String>,
}

/// Runs that led to the model at `path`.
///
/// # Errors
/// When settings cannot be read.
pub(crate) fn trace_runs(path: &Path) -> Result<TracedRuns> {
    let (mut model, mut runs, mut visited) = (path.to_path_buf(), Vec::new(), HashSet::new());
    while let Some(run) = RunFolder::find_run(&model) {
        if !visited.insert(run.canonicalize().unwrap_or_else(|_| run.clone())) {
            let warning = format!(
                "the run {} has replaced an earlier one, from which its model comes: which rows \
                 that one has learned is not known",
                run.display()
            );
            return Ok(TracedRuns { runs, warning: Some(warning) });
        }
        let Some(settings) = RunFolder::read_settings(&run)? else { break };
        let name = initial_model(&run, &settings);
        let missing = name.as_deref().filter(|name| is_missing(name, &run)).map(|name| {
            format!(
                "{name}, from which the run {} started, is not found: if it is a run, which rows \
                 it has learned is not known",
                run.display()
            )
        });
        let settings = with_found_data(&run, settings);
        runs.push((run, settings));
        match name {
            Some(name) if missing.is_none() => model = PathBuf::from(name),
            _ => return Ok(TracedRuns { runs, warning: missing }),
        }
    }
    Ok(TracedRuns { runs, warning: None })
}

/// Model that the run in `folder` with these `settings` started from, as they name it. A path that
/// does not exist here is searched in the folders above the run, since it is relative to the folder
/// in which the run was trained. `None` if the run trained its own.
pub fn initial_model(folder: &Path, settings: &Value) -> Option<String> {
    let name = settings["model"].as_str()?;
    Some(find(name, folder).unwrap_or_else(|| name.to_string()))
}

/// Existing path that `name` stands for in the settings of the run in `folder`: `name` itself, else
/// the one below the nearest folder above the run.
fn find(name: &str, folder: &Path) -> Option<String> {
    if is_found(Path::new(name)) {
        return Some(name.to_string());
    }
    let folder = std::path::absolute(folder).ok()?;
    let mut above = folder.ancestors().skip(1).map(|above| above.join(name));
    above.find(|path| is_found(path)).map(|path| path.to_string_lossy().into_owned())
}

/// `settings` of the run in `folder` with the paths of its data as they are found, those of a
/// mixture (`a.jsonl=0.7,b.jsonl=0.3`) too.
fn with_found_data(folder: &Path, mut settings: Value) -> Value {
    let found_source = |source: &str| {
        let (name, weight) = source.rsplit_once('=').unwrap_or((source, ""));
        let found = find(name.trim(), folder).filter(|found| found != name.trim());
        found.map_or_else(|| source.to_string(), |found| format!("{found}={weight}"))
    };
    for key in ["data", "eval_file"] {
        let Some(names) = settings[key].as_str() else { continue };
        let found = find(names, folder).unwrap_or_else(|| match names.contains(',') {
            true => names.split(',').map(found_source).collect::<Vec<_>>().join(","),
            false => names.to_string(),
        });
        settings[key] = found.into();
    }
    settings
}

/// True if there is something at `path`, or a run that had its model there.
fn is_found(path: &Path) -> bool {
    path.exists() || RunFolder::find_run(path).is_some()
}

/// True if the model `name`, which `run` started from, is not found and may have been a run.
fn is_missing(name: &str, run: &Path) -> bool {
    let is_file = MODEL_EXTENSIONS.iter().any(|end| name.ends_with(end));
    !is_found(Path::new(name)) && !is_file && !may_be_on_hub(name, run)
}

/// True if the model `name`, which `run` started from and which is not found, may be one of the
/// Hub, `owner/name`: there is no folder `owner`.
fn may_be_on_hub(name: &str, run: &Path) -> bool {
    let id = name.split(['@', ':']).next().unwrap_or(name);
    let Some((owner, name)) = id.split_once('/') else { return false };
    let is_id = !owner.is_empty() && !name.contains('/');
    is_id && owner != RUNS && find(owner, run).is_none()
}
