//! Chapter 4: unplug it. A training run is killed at random moments, without a warning, and resumed
//! each time. It ends with the same bytes as a run that was left alone.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, io, iter};

use anyhow::{Context, Result, ensure};
use tensor_core::Rng;

/// Times that the run is killed.
const KILLS: usize = 4;
/// Files of the last checkpoint and of the best model, relative to the run folder.
const FILES: [&str; 4] = [
    "checkpoints/step-120/model.safetensors",
    "checkpoints/step-120/optimizer.safetensors",
    "checkpoints/step-120/state.json",
    "model/model.safetensors",
];

/// Runs `part_4` with `args` in this process, or, without any, the demonstration.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    if !args.is_empty() {
        return scaling::command::parse_and_run(iter::once("part_4".into()).chain(args.to_vec()));
    }
    let folder = tempfile::tempdir()?;
    let [alone, unplugged] = ["alone", "unplugged"].map(|name| folder.path().join(name));
    finish(start(&alone, Start::New)?)?;
    println!("left alone: 120 steps");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
    let (mut rng, mut next) = (Rng::new(seed), Start::New);
    for _ in 0..KILLS {
        let mut child = start(&unplugged, next)?;
        next = Start::Resume;
        let steps_before = steps(&unplugged);
        while steps(&unplugged) == steps_before && child.try_wait()?.is_none() {
            sleep(Duration::from_millis(5)); // until it has written a checkpoint
        }
        sleep(Duration::from_secs_f64(0.2 * rng.uniform()));
        child.kill()?; // SIGKILL, or TerminateProcess
        child.wait()?;
        println!("killed; its newest checkpoint is of step {}", steps(&unplugged).unwrap_or(0));
    }
    finish(start(&unplugged, Start::Resume)?)?;
    for name in FILES {
        let [a, b] = [&alone, &unplugged].map(|folder| fs::read(folder.join(name)));
        let (a, b) = (a.with_context(|| name.to_string())?, b?);
        ensure!(a == b, "{name} differs");
        println!("{name}: {} bytes, all equal", a.len());
    }
    Ok(())
}

/// Way to start a run.
#[derive(Clone, Copy)]
enum Start {
    New,
    Resume,
}

/// Starts a run of part 4 in the folder `out`, in a process of its own.
fn start(out: &Path, start: Start) -> io::Result<Child> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tiny.txt");
    let mut command = Command::new(env::current_exe()?);
    command.args(["unplug", "--", "train", "--out"]).arg(out);
    match start {
        Start::Resume => command.arg("--resume"),
        Start::New => command.arg("--data").arg(data).args([
            "--steps=120",
            "--n-layer=2",
            "--n-embd=64",
            "--context-len=64",
            "--vocab-size=512",
            "--dropout=0.1",
            "--save-interval=20",
            "--threads=1",
        ]),
    };
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Waits for the end of a run.
fn finish(mut run: Child) -> Result<()> {
    ensure!(run.wait()?.success(), "the run failed");
    Ok(())
}

/// Step of the newest checkpoint in the run folder `out`.
fn steps(out: &Path) -> Option<usize> {
    let entries = fs::read_dir(out.join("checkpoints")).ok()?.filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max()
}
