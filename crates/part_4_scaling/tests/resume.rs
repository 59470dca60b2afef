//! Runs that are interrupted in every way arrive where uninterrupted ones arrive, to the last bit.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tensor_core::Rng;
use tensor_core::testing::{Program, path};

const PART_4: Program = Program(env!("CARGO_BIN_EXE_part_4"));

/// A small model on a small text, quickly.
const SMALL: [&str; 26] = [
    "--n-layer",
    "2",
    "--n-head",
    "2",
    "--n-embd",
    "16",
    "--block-size",
    "16",
    "--batch-size",
    "4",
    "--vocab-size",
    "300",
    "--eval-windows",
    "4",
    "--eval-interval",
    "0",
    "--sample-interval",
    "0",
    "--sample-tokens",
    "4",
    "--log",
    "none",
    "--log-interval",
    "1",
    "--threads",
    "2",
];

struct Runs {
    folder: TempDir,
    data: String,
}

impl Runs {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = path(folder.path(), "text.txt");
        let stories: Vec<String> =
            (0..60).map(|i| format!("The cat number {i} sat on mat {}.", i * i)).collect();
        std::fs::write(&data, stories.join("\n<|endoftext|>\n")).expect("a text");
        Self { folder, data }
    }

    fn out(&self, name: &str) -> String {
        path(self.folder.path(), name)
    }

    /// `train` into the run `name`.
    fn args<'a>(&'a self, out: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
        [&["train", "--data", &self.data, "--out", out][..], &SMALL, flags].concat()
    }

    fn train(&self, name: &str, flags: &[&str]) -> String {
        PART_4.says(&self.args(&self.out(name), flags))
    }

    /// Starts it with nobody listening.
    fn start(&self, name: &str, flags: &[&str]) -> Child {
        let out = self.out(name);
        let mut command = PART_4.command(&self.args(&out, flags));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("part_4 starts")
    }

    fn file(&self, name: &str, file: &str) -> Vec<u8> {
        let path = Path::new(&self.out(name)).join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Panics unless both runs have the same checkpoint of `step`.
    fn assert_same(&self, [a, b]: [&str; 2], step: usize) {
        for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
            let file = format!("checkpoints/step-{step}/{file}");
            assert!(self.file(a, &file) == self.file(b, &file), "{a} and {b} differ in {file}");
        }
        let model = "model/model.safetensors";
        assert!(self.file(a, model) == self.file(b, model), "{a} and {b} differ in {model}");
    }

    /// The last step whose figures were written.
    fn last_row(&self, name: &str) -> u64 {
        match Path::new(&self.out(name)).join("metrics.jsonl").exists() {
            true => self.rows(name).last().map_or(0, |row| row["step"].as_u64().expect("a step")),
            false => 0,
        }
    }

    /// The rows of figures.
    fn rows(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8(self.file(name, "metrics.jsonl")).expect("text");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// The figures of all steps without those that time decides.
fn without_times(rows: Vec<Value>) -> Vec<Value> {
    rows.into_iter()
        .map(|mut row| {
            let object = row.as_object_mut().expect("an object");
            for key in ["tokens_per_s", "gemm_share", "memory_mb"] {
                object.remove(key);
            }
            row
        })
        .collect()
}

#[test]
fn two_hundred_steps_equal_eighty_and_a_hundred_and_twenty_resumed() {
    let runs = Runs::new();
    for (i, flags) in [
        &[][..],
        &["--accumulate", "3", "--dropout", "0.1"],
        &["--recompute", "--dropout", "0.1", "--dtype", "bf16", "--eval-interval", "70"],
        &["--dtype", "f16", "--lr-decay", "stable"],
    ]
    .into_iter()
    .enumerate()
    {
        let (whole, parts) = (format!("whole{i}"), format!("parts{i}"));
        let steps = if i < 2 { ["200", "80", "150"] } else { ["90", "31", "70"] };
        let flags = [flags, &["--steps", steps[0]]].concat();
        runs.train(&whole, &flags);
        let said = runs.train(&parts, &[&flags[..], &["--stop-after", steps[1]]].concat());
        assert!(
            said.contains("stopped and saved after step") && said.contains("--resume"),
            "{said}"
        );
        // The settings are the run's own: only what is new must be said.
        let out = runs.out(&parts);
        PART_4.says(&["train", "--resume", "--out", &out, "--stop-after", steps[2]]);
        PART_4.says(&[
            "train",
            "--resume",
            "--out",
            &out,
            "--set",
            &format!("stop_after={}", steps[0]),
        ]);
        runs.assert_same([&whole, &parts], steps[0].parse().expect("a number"));
        let rows = [&whole, &parts].map(|name| without_times(runs.rows(name)));
        assert!(rows[0].len() >= steps[0].parse().expect("a number"));
        assert_eq!(rows[0], rows[1]);
    }
}

#[test]
fn a_run_that_is_killed_thirty_times_loses_a_step_at_most_each_time() {
    let runs = Runs::new();
    let flags = ["--steps", "400", "--save-interval", "1", "--dropout", "0.1"];
    runs.train("whole", &flags);
    let mut rng = Rng::new(1);
    let folder = runs.out("killed/checkpoints");
    let (mut saved, mut lost) = (0, 0);
    for kill in 0..30 {
        let begun = Path::new(&folder).exists();
        let flags = if begun { [&flags[..], &["--resume"]].concat() } else { flags.to_vec() };
        let mut child = runs.start("killed", &flags);
        // Every other time once it has taken some steps, else at any moment after its start.
        let wanted = saved + 1 + rng.below(6) as u64;
        while kill % 2 == 0
            && runs.last_row("killed") < wanted
            && child.try_wait().expect("a status").is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(rng.below(60) as u64));
        child.kill().expect("it is killed"); // SIGKILL
        child.wait().expect("it is gone");
        let (taken, before) = (runs.last_row("killed"), saved);
        saved = steps(&folder).into_iter().max().unwrap_or(0);
        assert!(saved + 1 >= taken, "step {taken} was taken, and {saved} was saved");
        assert!(saved >= before, "what was saved is kept");
        lost += usize::from(saved < taken);
    }
    assert!(
        (30..400).contains(&saved),
        "{saved} steps in 30 pieces, {lost} of them lost and taken again"
    );
    let flags = [&flags[..], &["--resume"]].concat();
    runs.train("killed", &flags);
    runs.assert_same(["whole", "killed"], 400);
}

/// The steps that have a checkpoint in `folder`.
fn steps(folder: &str) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.filter_map(|name| name.to_str()?.strip_prefix("step-")?.parse().ok()).collect()
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_ends_well_and_the_run_goes_on_as_if_nothing_had_been() {
    let runs = Runs::new();
    let flags = ["--steps", "300", "--save-interval", "0"];
    runs.train("whole", &flags);
    for (name, signal) in [("int", "-INT"), ("term", "-TERM")] {
        let mut child = runs.start(name, &flags);
        while !Path::new(&runs.out(name)).join("metrics.jsonl").exists()
            || runs.rows(name).len() < 9
        {
            std::thread::sleep(Duration::from_millis(5));
            assert!(child.try_wait().expect("a status").is_none(), "it ended before the signal");
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
        assert!(child.wait().expect("it ends").success(), "{signal} is no failure");
        let stopped = steps(&runs.out(&format!("{name}/checkpoints")));
        assert!(stopped.len() == 1 && stopped[0] < 300, "{stopped:?}");
        runs.train(name, &[&flags[..], &["--resume"]].concat());
        runs.assert_same(["whole", name], 300);
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_checkpoint_before_and_says_so() {
    let runs = Runs::new();
    let flags = ["--steps", "12", "--save-interval", "4"];
    runs.train("whole", &flags);
    runs.train("full", &[&flags[..], &["--stop-after", "4"]].concat());
    let out = runs.out("full");
    let resume = [&runs.args(&out, &flags)[..], &["--resume"]].concat();
    // No file may grow past 16 or 32 KiB, as if the disk were full; the weights alone have more.
    let limited = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 32; exec "$@""#, "sh", PART_4.0])
        .args(&resume)
        .output()
        .expect("a shell");
    let error = String::from_utf8_lossy(&limited.stderr);
    let error = error.lines().last().unwrap_or_default();
    assert_eq!(limited.status.code(), Some(1), "{error}");
    let told = "the checkpoint of step 8 was not saved; the one of step 4 is whole: --resume continues there";
    assert!(error.contains(told) && error.contains("model.safetensors"), "{error}");
    assert_eq!(steps(&format!("{out}/checkpoints")), [4]);
    PART_4.says(&resume);
    runs.assert_same(["whole", "full"], 12);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning() {
    let runs = Runs::new();
    let flags = ["--steps", "9", "--save-interval", "3"];
    runs.train("whole", &flags);
    runs.train("damaged", &flags);
    let out = runs.out("damaged");
    let file = format!("{out}/checkpoints/step-9/optimizer.safetensors");
    let mut bytes = std::fs::read(&file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let resume = [&runs.args(&out, &flags)[..], &["--resume"]].concat();
    let output = PART_4.command(&resume).output().expect("part_4 starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("warning: ") && error.contains("step-9 is passed over"), "{error}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("resuming after step 6"), "{said}");
    runs.assert_same(["whole", "damaged"], 9);
}

#[test]
fn what_does_not_fit_the_run_is_refused_and_nothing_changes() {
    let runs = Runs::new();
    let flags = ["--steps", "4"];
    let out = runs.out("run");
    let resume = |more: &[&'static str]| [&["train", "--resume", "--out", &out][..], more].concat();
    PART_4.refuses(&resume(&[]), 1, "no run in");
    runs.train("run", &flags);
    let files = || {
        ["config.json", "metrics.jsonl", "checkpoints/step-4/state.json"]
            .map(|file| runs.file("run", file))
    };
    let before = files();
    PART_4.refuses(&resume(&["--lr", "0.5"]), 1, "lr was 0.003 and is 0.5");
    PART_4.refuses(
        &resume(&["--n-embd", "32", "--seed", "9"]),
        1,
        "n_embd was 16 and is 32, seed was 1337 and is 9",
    );
    PART_4.refuses(&resume(&["--steps", "8"]), 1, "steps was 4 and is 8");
    // The data's place may change, what it holds may not.
    let other = Runs::new();
    other.train("run", &["--steps", "1", "--seed", "3"]);
    let foreign = format!("{}/data", other.out("run"));
    PART_4.refuses(&["train", "--resume", "--out", &out, "--data", &foreign], 1, "other data");
    let moved = runs.out("moved");
    std::fs::rename(format!("{out}/data"), &moved).expect("moved");
    PART_4.refuses(&resume(&[]), 1, "tokenizer");
    PART_4.says(&["train", "--resume", "--out", &out, "--data", &moved]);
    assert_eq!(before[1..], files()[1..]);
    for step in std::fs::read_dir(format!("{out}/checkpoints")).expect("checkpoints") {
        std::fs::remove_dir_all(step.expect("an entry").path()).expect("removed");
    }
    PART_4.refuses(
        &["train", "--resume", "--out", &out, "--data", &moved],
        1,
        "has no checkpoint yet",
    );
}
