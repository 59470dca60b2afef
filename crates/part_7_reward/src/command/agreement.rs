//! `part_7 agreement`: how well people agree who have labeled the same pairs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::agreement::Agreement;
use crate::annotation_file::{Annotation, read_annotations};

#[derive(Args)]
pub(super) struct AgreementArgs {
    /// Files of `collect`, one per person, with the same model, prompts and seed
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &AgreementArgs) -> Result<()> {
    let read = |path: &PathBuf| Ok((path.display().to_string(), read_annotations(path)?));
    let people: Vec<(String, Vec<Annotation>)> =
        args.files.iter().map(read).collect::<Result<_>>()?;
    for (i, (name, ours)) in people.iter().enumerate() {
        for (other, theirs) in &people[i + 1..] {
            let agreement = Agreement::of_annotations(ours, theirs);
            let [direction, steps] = agreement.with_context(|| {
                format!(
                    "{name} and {other} have no pair in common: use one model, prompts and seed"
                )
            })?;
            println!("{name} and {other}, {} pairs", direction.n);
            println!("  better completion  {}", describe(&direction));
            println!("  step of the scale  {}", describe(&steps));
        }
    }
    Ok(())
}

fn describe(agreement: &Agreement) -> String {
    let kappa = match agreement.kappa {
        Some(kappa) => format!("{kappa:.3}"),
        None => "undefined: both always used the same label".into(),
    };
    format!("agreement {:.3}, Cohen's kappa {kappa}", agreement.observed)
}
