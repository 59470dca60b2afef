//! A run of the course: its folder, its settings, and which stages are done.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tiny_gpt::flags::ComputeFlags;
use tiny_gpt::{Interrupt, json_file};

use crate::stage::Note;
use crate::stages::{STAGES, Stage};

const SETTINGS: &str = "course.json";

/// How long stages last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Until something is learned.
    Whole,
    /// To see that all works.
    Quick,
}

/// A run of the course.
pub(crate) struct Course {
    /// Where everything goes.
    pub(crate) out: PathBuf,
    pub(crate) length: Length,
    pub(crate) seed: u64,
    /// The flags that every command gets.
    flags: Vec<String>,
    /// Whether the run was asked to end.
    interrupt: Interrupt,
}

impl Course {
    /// A new run in `out`.
    ///
    /// # Errors
    /// When there is something already.
    pub(crate) fn begin(out: PathBuf, quick: bool, compute: &ComputeFlags) -> Result<Self> {
        let place = out.display();
        ensure!(
            !out.join(SETTINGS).exists(),
            "{place} holds a run of the course: go on with it by --resume, or name another place by --out"
        );
        let empty = out.read_dir().map_or(Ok(true), |mut files| anyhow::Ok(files.next().is_none()));
        ensure!(empty?, "{place} holds other things: name another place by --out");
        std::fs::create_dir_all(&out).with_context(|| format!("creating {place}"))?;
        json_file::write(&out.join(SETTINGS), &settings(quick, compute))?;
        Self::open(out, quick, compute)
    }

    /// The run in `out`.
    ///
    /// # Errors
    /// When there is none, or it has other settings.
    pub(crate) fn resume(out: PathBuf, quick: bool, compute: &ComputeFlags) -> Result<Self> {
        let (place, now) = (out.display(), settings(quick, compute));
        let before = json_file::read_or_null(&out.join(SETTINGS))?;
        ensure!(!before.is_null(), "there is no run of the course in {place} to go on with");
        for (key, value) in before.as_object().into_iter().flatten() {
            ensure!(
                now[key] == *value,
                "the run in {place} was begun with {key} {value}, and this is {key} {}",
                now[key]
            );
        }
        Self::open(out, quick, compute)
    }

    /// The run in `out`, or a new one.
    ///
    /// # Errors
    /// When there is another, or something else.
    pub(crate) fn begin_or_resume(
        out: PathBuf,
        quick: bool,
        compute: &ComputeFlags,
    ) -> Result<Self> {
        match out.join(SETTINGS).exists() {
            true => Self::resume(out, quick, compute),
            false => Self::begin(out, quick, compute),
        }
    }

    fn open(out: PathBuf, quick: bool, compute: &ComputeFlags) -> Result<Self> {
        let mut flags =
            vec![format!("--seed={}", compute.seed), format!("--device={}", compute.device)];
        flags.extend(compute.threads.map(|n| format!("--threads={n}")));
        let length = if quick { Length::Quick } else { Length::Whole };
        Ok(Self { out, length, seed: compute.seed, flags, interrupt: Interrupt::catch()? })
    }

    /// Does what is not done; whether it came to the end.
    pub(crate) fn run(&self) -> Result<bool> {
        for stage in &STAGES {
            match Note::read(&self.folder(stage.name))? {
                Some(_) => println!("{}: done before", stage.heading()),
                None if !self.stage(stage)? => return Ok(false),
                None => {}
            }
        }
        Ok(true)
    }

    /// Does the stage `name`, and says that those which follow from it are to be done again; whether it came to the end.
    pub(crate) fn redo(&self, name: &str) -> Result<bool> {
        let mut stale = vec![name];
        for stage in &STAGES {
            if stage.name == name || stage.needs.iter().any(|needed| stale.contains(needed)) {
                stale.push(stage.name);
                Note::remove(&self.folder(stage.name))?;
            }
        }
        let stage =
            STAGES.iter().find(|stage| stage.name == name).context("there is no such stage")?;
        self.stage(stage)
    }

    /// Does a stage; false where it was asked to end before.
    fn stage(&self, stage: &Stage) -> Result<bool> {
        for needed in stage.needs {
            ensure!(
                Note::read(&self.folder(needed))?.is_some(),
                "the stage {} begins with what the stage {needed} leaves: do that first, by --only {needed}",
                stage.name
            );
        }
        let (folder, start) = (self.folder(stage.name), Instant::now());
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("removing what was begun in {}", folder.display()))?;
        }
        println!("\n{}\n", stage.heading());
        let done = (stage.work)(self, &folder);
        if self.interrupt.requested() {
            return Ok(false); // what a command that was interrupted left may be anything
        }
        let note = done.with_context(|| format!("in the stage {}", stage.name))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("\n{} in {seconds:.0} s", note.found.join("; "));
        Note { seconds, ..note }.write(&folder)?;
        Ok(true)
    }

    /// Where the stage `name` keeps what it leaves.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Runs a command line of a part, `out` its run folder; as one would type it.
    pub(crate) fn command(
        &self,
        run: fn(Vec<String>) -> Result<()>,
        line: &[&str],
        out: &Path,
    ) -> Result<String> {
        let mut line: Vec<String> = line.iter().map(ToString::to_string).collect();
        line.push(format!("--out={}", out.display()));
        line.extend(self.flags.clone());
        run(line.clone())?;
        Ok(format!("cargo run --release -p {} -- {}", line[0], line[1..].join(" ")))
    }

    /// Whether its stages are too short to learn much.
    pub(crate) fn is_quick(&self) -> bool {
        self.length == Length::Quick
    }

    /// What a whole run gets, or a quick one.
    pub(crate) fn choose<'a>(&self, whole: &'a str, quick: &'a str) -> &'a str {
        match self.length {
            Length::Whole => whole,
            Length::Quick => quick,
        }
    }

    /// Whether the run was asked to end.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }
}

fn settings(quick: bool, compute: &ComputeFlags) -> Value {
    json!({
        "quick": quick,
        "seed": compute.seed,
        "device": compute.device.to_string(),
        "threads": compute.threads,
    })
}
