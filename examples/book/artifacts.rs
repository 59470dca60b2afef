//! Figures and tables of the book: text files under `book/src`, committed, and compared with what
//! the code draws now.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{
    attention_steps, capacity, clip_panels, compute_budget, cost_figures, displacement, dpo_losses,
    float_bits, gae_weights, goodhart, group_weights, implicit_rewards, induction, kl_estimators,
    masks, merges, ngrams, optimizer_paths, pair_loss, policy_gradient, precision, residual_path,
    rotation, sampling, scaling_law, schedules, significance, softmax_width, test_time,
};

/// A file of the book that is made by code.
pub(crate) struct Artifact {
    /// Path relative to `book/src`: `figures/NAME.svg` or `tables/NAME.md`.
    path: PathBuf,
    content: String,
}

impl Artifact {
    /// Figure `name`, an SVG.
    pub(crate) fn figure(name: &str, svg: String) -> Self {
        Self { path: Path::new("figures").join(name).with_extension("svg"), content: svg }
    }

    /// Table `name` with the cells of `header` and `rows`, in Markdown.
    pub(crate) fn table(name: &str, header: &[&str], rows: &[Vec<String>]) -> Self {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let header: Vec<String> = header.iter().map(ToString::to_string).collect();
        let rule = vec!["---".to_string(); header.len()];
        let mut content = line(&header) + &line(&rule);
        content.extend(rows.iter().map(|row| line(row)));
        Self { path: Path::new("tables").join(name).with_extension("md"), content }
    }
}

/// All figures and tables, in the order of the chapters.
///
/// # Errors
/// When one cannot be drawn.
pub(crate) fn all() -> Result<Vec<Artifact>> {
    let groups = [
        ngrams::artifacts()?,
        attention_steps::artifacts()?,
        softmax_width::artifacts()?,
        residual_path::artifacts()?,
        induction::artifacts()?,
        optimizer_paths::artifacts()?,
        sampling::artifacts()?,
        rotation::artifacts()?,
        masks::artifacts()?,
        merges::artifacts()?,
        precision::artifacts()?,
        float_bits::artifacts()?,
        schedules::artifacts()?,
        compute_budget::artifacts()?,
        scaling_law::artifacts()?,
        capacity::artifacts()?,
        pair_loss::artifacts()?,
        goodhart::artifacts()?,
        policy_gradient::artifacts()?,
        gae_weights::artifacts()?,
        clip_panels::artifacts()?,
        kl_estimators::artifacts()?,
        group_weights::artifacts()?,
        implicit_rewards::artifacts()?,
        dpo_losses::artifacts()?,
        displacement::artifacts()?,
        test_time::artifacts()?,
        significance::artifacts()?,
        cost_figures::artifacts()?,
    ];
    Ok(groups.into_iter().flatten().collect())
}

/// Writes all of them.
///
/// # Errors
/// When one cannot be drawn or written.
pub(crate) fn write() -> Result<()> {
    for Artifact { path, content } in all()? {
        let path = source_folder().join(path);
        if fs::read_to_string(&path).is_ok_and(|old| old == content) {
            continue;
        }
        fs::create_dir_all(path.parent().context("every file is in a folder")?)?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Compares all of them with the committed files.
///
/// # Errors
/// Names the files that differ, are missing, or are not drawn any more.
pub(crate) fn check() -> Result<()> {
    let artifacts = all()?;
    let mut stale = Vec::new();
    for Artifact { path, content } in &artifacts {
        if fs::read_to_string(source_folder().join(path)).ok().as_ref() != Some(content) {
            stale.push(path.clone());
        }
    }
    for folder in ["figures", "tables"] {
        for entry in fs::read_dir(source_folder().join(folder))? {
            let path = Path::new(folder).join(entry?.file_name());
            if artifacts.iter().all(|artifact| artifact.path != path) {
                stale.push(path);
            }
        }
    }
    ensure!(stale.is_empty(), "not what the code draws (cargo x figures): {stale:?}");
    Ok(())
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src")
}
