//! Several commands in one process: each starts with a fresh shutdown flag, and Ctrl-C stops the
//! current one with a checkpoint.
//!
//! Without the test harness, because a process must set its number of threads before it starts a
//! second thread.

#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use experiment::Interrupt;

    /// Run of a small model, which does not end unless `more` has a flag for it.
    fn train(folder: &Path, name: &str, more: &[&str]) -> anyhow::Result<()> {
        let small = "part_6 train --base-steps 0 --n-layer 1 --n-head 2 --n-embd 16 \
                     --steps 100000000 --batch-size 4 --examples 40 --eval-examples 2 \
                     --eval-interval 0 --save-interval 0 --log-interval 1 --threads 2 --out";
        let out = folder.join(name).to_string_lossy().into_owned();
        sft::command::parse_and_run(
            small.split(' ').chain([out.as_str()]).chain(more.iter().copied()),
        )?;
        println!("{name} is over");
        Ok(())
    }

    /// Commands of the child process, which receives the signals.
    pub(crate) fn commands(folder: &Path) -> anyhow::Result<()> {
        train(folder, "first", &[])?;
        train(folder, "second", &[])?;
        let interrupt = Interrupt::listen()?; // a program with its own listener
        train(folder, "third", &[])?;
        assert!(interrupt.is_requested(), "the program sees the signal that stopped its command");
        drop(interrupt);
        let other =
            sft::command::parse_and_run(["part_6", "eval", "--model", "nowhere", "--threads", "3"]);
        assert!(other.expect_err("an error").to_string().contains("the number cannot change"));
        let wrong = sft::command::parse_and_run(["part_6", "train", "--steps", "many"]);
        assert!(wrong.expect_err("an error").is::<clap::Error>());
        train(folder, "fourth", &["--stop-after", "1"])?; // without a signal
        // Without a listener, the next signal ends the process.
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }

    pub(crate) fn test() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut output = output.lines().map(|line| line.expect("a line"));
        for name in ["first", "second", "third"] {
            wait_for_metrics(&mut child, &folder.path().join(name).join("metrics.jsonl"));
            interrupt(&child);
            assert!(output.any(|line| line == format!("{name} is over")), "the process continues");
            let saved: Vec<PathBuf> = list_folder(&folder.path().join(name).join("checkpoints"));
            assert_eq!(saved.len(), 1, "{name} has one checkpoint: {saved:?}");
        }
        assert!(output.any(|line| line == "fourth is over"));
        interrupt(&child);
        assert_eq!(child.wait().expect("it ends").code(), Some(1));
    }

    /// Waits until the run has written metrics.
    fn wait_for_metrics(child: &mut Child, metrics: &Path) {
        while std::fs::metadata(metrics).map_or(0, |file| file.len()) == 0 {
            assert!(child.try_wait().expect("a status").is_none(), "the process ended too early");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn interrupt(child: &Child) {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    fn list_folder(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

#[cfg(unix)]
fn main() -> anyhow::Result<()> {
    match std::env::args_os().nth(1).filter(|arg| std::path::Path::new(arg).is_dir()) {
        Some(folder) => unix::commands(std::path::Path::new(&folder)),
        None => {
            unix::test();
            Ok(())
        }
    }
}

#[cfg(not(unix))]
fn main() {}
