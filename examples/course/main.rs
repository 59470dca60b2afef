//! The whole course in one command, on built-in data. Each stage runs a command of a part, and a
//! page shows the results.
//!
//!     cargo run --example course
//!
//! All output is in `runs/course/`; `report.html` there is the page.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

mod stages;
mod base;
mod attention;
mod training_stages;
mod evaluation;
mod scoreboard;
mod report;
mod data; // what the stages share
mod sample;
mod stage;
mod course;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use course::CourseRun;
use experiment::flags::{ComputeFlags, Precision, without_f16};
use experiment::program as command;
use experiment::program::shell_quote;
use settings::CourseSettings;
use stages::STAGES;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Run the whole course: tokenizer, pretraining, fine-tuning, reward model, DPO, PPO, GRPO,
/// evaluation
#[derive(Parser)]
#[command(name = "course", version, mut_arg("dtype", without_f16))]
struct Args {
    /// Run folder
    #[arg(long, value_name = "DIR", default_value = "runs/course")]
    out: PathBuf,
    #[command(flatten)]
    stages: StageSelection,
    /// Finish in about two minutes: few steps per stage, on sums and differences of one digit
    #[arg(long)]
    quick: bool,
    /// Number format of training
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Stages to run. Without these flags, all stages of a new run.
#[derive(clap::Args)]
struct StageSelection {
    /// Continue the run in --out at its first unfinished stage
    #[arg(long)]
    resume: bool,
    /// Run one stage again; it and the stages that depend on it are first kept as NAME.previous
    #[arg(long, value_name = "STAGE", value_parser = STAGES.map(|stage| stage.name))]
    only: Option<String>,
}

fn main() -> ExitCode {
    command::parse_and_run(run)
}

fn run(args: Args) -> Result<()> {
    args.dtype.ensure_unscaled()?;
    let course = create_or_resume(&args)?;
    let completed = match &args.stages.only {
        Some(name) => course.redo_stage(name)?,
        None => course.run()?,
    };
    let out = shell_quote(&course.out);
    let resume_command = format!("cargo run --example course -- --resume --out {out}");
    if !completed {
        println!("\nInterrupted; to run the stage again and continue: {resume_command}");
        return Ok(());
    }
    report::write(&course)?;
    let (unfinished, page) = (course.unfinished_stages()?, course.out.join("report.html"));
    println!("\nReport with learning curves: {}", page.display());
    if !unfinished.is_empty() {
        println!("Stages left: {}; run them with {resume_command}", unfinished.join(", "));
    }
    if let Some(name) = course.last_chat_stage()? {
        println!(
            "Chat with the model of the stage {name}: \
             cargo run --example chat -- --single-turn --model {}\n{}",
            shell_quote(course.stage_folder(name)),
            data::describe_abilities(&course)
        );
    }
    Ok(())
}

/// Creates the run in `--out` or opens the existing one. Settings, device and prerequisites are
/// checked before anything is written.
fn create_or_resume(args: &Args) -> Result<CourseRun> {
    let (requested, out) = (CourseSettings::from_args(args), args.out.clone());
    let resumes = match &args.stages.only {
        Some(_) => CourseRun::exists_in(&out),
        None => args.stages.resume,
    };
    if resumes {
        let settings = CourseRun::load_settings(&out, &requested)?;
        let device = settings.open_device()?;
        return CourseRun::resume(out, settings, device);
    }
    if let Some(name) = &args.stages.only {
        ensure_no_prerequisites(&out, name)?;
    }
    let device = requested.open_device()?;
    CourseRun::create(out, requested, device)
}

/// # Errors
/// When a new run would start with a stage that needs the output of another.
fn ensure_no_prerequisites(out: &Path, name: &str) -> Result<()> {
    let stage = STAGES.iter().find(|stage| stage.name == name);
    let prerequisites = stage.map_or(&[][..], |stage| stage.prerequisites);
    ensure!(
        prerequisites.is_empty(),
        "the stage {name} needs the output of other stages ({}), and there is no run in {}",
        prerequisites.join(", "),
        out.display()
    );
    Ok(())
}
