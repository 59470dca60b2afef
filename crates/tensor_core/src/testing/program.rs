//! Runs a part's program in tests: its output and its error messages.

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
}

/// Path of the file `name` in a folder, as an argument.
pub fn path_arg(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}
