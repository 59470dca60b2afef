//! Runs a part's program in tests: its output, its error messages, and its gradient checkpointing.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Program by its path, which is `env!("CARGO_BIN_EXE_part_N")` in the tests of part N.
pub struct Program(pub &'static str);

impl Program {
    /// Command with these arguments, not started yet. It downloads nothing.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.0);
        command.args(args).env("HF_HUB_OFFLINE", "1");
        command
    }

    /// Standard output. Panics unless the program exits with code 0.
    pub fn stdout(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// JSON object on the last line of the standard output.
    pub fn stdout_json(&self, args: &[&str]) -> Value {
        let text = self.stdout(args);
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    }

    /// Panics unless the program exits with `code`, with a single line on stderr that contains
    /// `text`, and prints nothing on stdout.
    pub fn assert_fails(&self, args: &[&str], code: i32, text: &str) {
        let output = self.command(args).output().expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(text), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    }

    /// Panics unless `train --gradient-checkpointing` gives the weights that `train` gives without
    /// it, bit for bit, also when the run is stopped and resumed: training all weights, LoRA
    /// adapters, and with AdamW in 8 bits. A run in bf16, where recomputed gradients are rounded
    /// otherwise, is only stopped and resumed.
    pub fn assert_gradient_checkpointing_is_exact(&self, runs: &CheckpointingRuns<'_>) {
        let help = self.stdout(&["train", "--help"]);
        for flag in ["--gradient-checkpointing", "--optim"] {
            assert!(help.contains(flag), "{flag}: {help}");
        }
        assert!(!help.replace("bf16", "").contains("f16"), "f16 is refused: {help}");
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| path_arg(folder.path(), name);
        let weights = |run: &str, file: &str| {
            let checkpoint = Path::new(run).join("checkpoints").join(runs.checkpoint);
            std::fs::read(checkpoint.join(file)).expect(file)
        };
        self.stdout(&(runs.train)(&at("first"), &["--steps", "1"]));
        let base = at("first/base");
        let recompute = &["--gradient-checkpointing"][..];
        for (name, more, recompute, file) in [
            ("full", &[][..], recompute, "model.safetensors"),
            ("lora", runs.adapter, recompute, "trained.safetensors"),
            ("8bit", &["--optim", "adamw_8bit"][..], recompute, "model.safetensors"),
            ("bf16", &["--dtype", "bf16"][..], &[][..], "model.safetensors"),
        ] {
            let (stored, recomputed) = (at(&format!("{name}-a")), at(&format!("{name}-b")));
            let more = [&["--model", &base], more].concat();
            self.stdout(&(runs.train)(&stored, &more));
            let args = [&more[..], recompute, &["--stop-after", "2"]].concat();
            self.stdout(&(runs.train)(&recomputed, &args));
            self.stdout(&["train", "--resume", "--out", &recomputed]);
            assert!(weights(&stored, file) == weights(&recomputed, file), "{name}");
        }
        let [full, half] = ["full-a", "bf16-a"].map(|run| weights(&at(run), "model.safetensors"));
        assert!(full != half, "--dtype bf16 changes nothing");
    }
}

/// Runs of a part that [`Program::assert_gradient_checkpointing_is_exact`] compares.
pub struct CheckpointingRuns<'a> {
    /// Arguments of a run of four steps in a folder, with additional flags. Without `--model`, it
    /// trains a base model first, which it saves as `base/` in that folder.
    pub train: for<'b> fn(&'b str, &[&'b str]) -> Vec<&'b str>,
    /// Folder of the weights after the last step, below `checkpoints/`.
    pub checkpoint: &'a str,
    /// Flags of a run with LoRA adapters.
    pub adapter: &'a [&'a str],
}

/// Path of the file `name` in a folder, as an argument.
pub fn path_arg(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}
