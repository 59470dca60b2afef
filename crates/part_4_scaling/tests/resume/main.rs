//! 4.4: an interrupted and resumed run gives the same results as an uninterrupted one, bit for bit.

mod interruptions;
mod refusals;

use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tensor_core::testing::{Program, path_arg};

const PART_4: Program = Program(env!("CARGO_BIN_EXE_part_4"));

/// Flags of a small model and a quiet run.
const SMALL: &str = "--n-layer 2 --n-head 2 --n-embd 16 --context-len 16 --batch-size 4 \
    --vocab-size 300 \
    --eval-windows 4 --eval-interval 0 --sample-interval 0 --sample-len 4 --tracker none \
    --log-interval 1 --threads 2";

/// Folder with a text and the runs that are trained on it.
struct Runs {
    folder: TempDir,
    data: String,
}

impl Runs {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = path_arg(folder.path(), "text.txt");
        let stories: Vec<String> =
            (0..60).map(|i| format!("The cat number {i} sat on mat {}.", i * i)).collect();
        std::fs::write(&data, stories.join("\n<|endoftext|>\n")).expect("a text");
        Self { folder, data }
    }

    fn out(&self, name: &str) -> String {
        path_arg(self.folder.path(), name)
    }

    /// Arguments of `train` into the run folder `out`.
    fn args<'a>(&'a self, out: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
        let small: Vec<&str> = SMALL.split_whitespace().collect();
        [&["train", "--data", &self.data, "--out", out][..], &small, flags].concat()
    }

    fn train(&self, name: &str, flags: &[&str]) -> String {
        PART_4.stdout(&self.args(&self.out(name), flags))
    }

    /// Starts the run `name` in the background and discards its output.
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

    /// Last step with a row of metrics.
    fn last_row(&self, name: &str) -> u64 {
        match Path::new(&self.out(name)).join("metrics.jsonl").exists() {
            true => self.rows(name).last().map_or(0, |row| row["step"].as_u64().expect("a step")),
            false => 0,
        }
    }

    /// Rows of metrics.
    fn rows(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8(self.file(name, "metrics.jsonl")).expect("text");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Rows without the metrics that depend on time and memory.
fn without_timings(rows: Vec<Value>) -> Vec<Value> {
    rows.into_iter()
        .map(|mut row| {
            let object = row.as_object_mut().expect("an object");
            for key in ["tokens_per_s", "mfu", "memory_mb", "step_time_s"] {
                object.remove(key);
            }
            row
        })
        .collect()
}

#[test]
fn a_run_resumed_twice_equals_an_uninterrupted_run() {
    let runs = Runs::new();
    for (i, flags) in [
        &[][..],
        &["--grad-accum-steps", "3", "--dropout", "0.1"],
        &[
            "--gradient-checkpointing",
            "--dropout",
            "0.1",
            "--dtype",
            "bf16",
            "--eval-interval",
            "70",
        ],
        &["--dtype", "f16", "--lr-scheduler", "stable"],
        &["--optim", "muon", "--dropout", "0.1"],
    ]
    .into_iter()
    .enumerate()
    {
        let (uninterrupted, resumed) = (format!("uninterrupted{i}"), format!("resumed{i}"));
        let steps = if i < 2 { ["200", "80", "150"] } else { ["90", "31", "70"] };
        let flags = [flags, &["--steps", steps[0]]].concat();
        runs.train(&uninterrupted, &flags);
        let stdout = runs.train(&resumed, &[&flags[..], &["--stop-after", steps[1]]].concat());
        assert!(
            stdout.contains("stopped and saved after step") && stdout.contains("--resume"),
            "{stdout}"
        );
        // Settings are taken from the run: only changed ones are passed.
        let out = runs.out(&resumed);
        PART_4.stdout(&["train", "--resume", "--out", &out, "--stop-after", steps[2]]);
        PART_4.stdout(&[
            "train",
            "--resume",
            "--out",
            &out,
            "--set",
            &format!("stop_after={}", steps[0]),
        ]);
        runs.assert_same([&uninterrupted, &resumed], steps[0].parse().expect("a number"));
        let rows = [&uninterrupted, &resumed].map(|name| without_timings(runs.rows(name)));
        assert!(rows[0].len() >= steps[0].parse().expect("a number"));
        assert_eq!(rows[0], rows[1]);
    }
}

/// Steps that have a checkpoint in `folder`.
fn steps(folder: &str) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.filter_map(|name| name.to_str()?.strip_prefix("step-")?.parse().ok()).collect()
}
