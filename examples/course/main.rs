//! The whole course in one command, on built-in data: each stage is a command of a part, and a page shows what came of it.
//!
//!     cargo run --release --example course
//!
//! Everything it makes is kept in `runs/course/`; `report.html` there is the page.

mod attention;
mod base;
mod course;
mod exam;
mod report;
mod sample;
mod scoreboard;
mod settings;
mod stage;
mod stages;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use tiny_gpt::command::{self, shell_quote};
use tiny_gpt::flags::ComputeFlags;

use course::CourseRun;
use settings::CourseSettings;
use stages::STAGES;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// The whole course in one command: a language model is born, learns to answer, is judged, and gets better by trying.
#[derive(Parser)]
#[command(name = "course", version)]
struct Args {
    /// Where everything goes
    #[arg(long, value_name = "DIR", default_value = "runs/course")]
    out: PathBuf,
    #[command(flatten)]
    stages: StageSelection,
    /// A look in a minute: few steps at every stage, too few to learn much
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Which stages; all, in a new run, without a word.
#[derive(clap::Args)]
struct StageSelection {
    /// Go on with the run in --out, at the first stage that is not done
    #[arg(long)]
    resume: bool,
    /// Do one stage, anew; what follows from it is then done again by --resume. What they were before is kept as NAME.previous
    #[arg(long, value_name = "STAGE", value_parser = STAGES.map(|stage| stage.name))]
    only: Option<String>,
}

fn main() -> ExitCode {
    command::parse_and_run(run)
}

fn run(args: Args) -> Result<()> {
    let course = create_or_resume(&args)?;
    let ended = match &args.stages.only {
        Some(name) => course.redo_stage(name)?,
        None => course.run()?,
    };
    let go_on = shell_quote(&course.out);
    let go_on = format!("cargo run --release --example course -- --resume --out {go_on}");
    if !ended {
        println!("\nStopped; this begins the stage again, and goes on: {go_on}");
        return Ok(());
    }
    report::write(&course)?;
    let (missing, story) = (course.unfinished_stages()?, course.out.join("report.html"));
    let story = story.display();
    match missing.is_empty() {
        true => println!("\nThe whole story, with curves: {story}"),
        false => {
            println!("\nThe story so far, with curves: {story}");
            println!("Still to be done: {}, with {go_on}", missing.join(", "));
        }
    }
    if let Some(name) = course.last_chat_stage()? {
        println!(
            "Talk to one of the models:    cargo run --release --example chat -- --model {}",
            shell_quote(course.stage_folder(name))
        );
    }
    Ok(())
}

/// The run in `--out`, a new one or the one that is there. Before anything is written, all that can be wrong is known to be right.
fn create_or_resume(args: &Args) -> Result<CourseRun> {
    let (asked, out) = (CourseSettings::from_args(args), args.out.clone());
    let resumes = match &args.stages.only {
        Some(_) => CourseRun::exists_in(&out),
        None => args.stages.resume,
    };
    if resumes {
        let settings = CourseRun::load_settings(&out, &asked)?;
        let device = settings.open_device()?;
        return CourseRun::resume(out, settings, device);
    }
    if let Some(name) = &args.stages.only {
        ensure_no_prerequisites(&out, name)?;
    }
    let device = asked.open_device()?;
    CourseRun::create(out, asked, device)
}

/// # Errors
/// When a new run would begin with a stage that begins with what another leaves.
fn ensure_no_prerequisites(out: &Path, name: &str) -> Result<()> {
    let needs =
        STAGES.iter().find(|stage| stage.name == name).map_or(&[][..], |one| one.prerequisites);
    ensure!(
        needs.is_empty(),
        "the stage {name} begins with what others leave ({}), and there is no run in {}",
        needs.join(", "),
        out.display()
    );
    Ok(())
}
