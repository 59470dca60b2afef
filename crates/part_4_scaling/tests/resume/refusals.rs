//! Damaged checkpoints that are skipped, and resumes that are refused.

use serde_json::Value;

use crate::{PART_4, Runs};

#[test]
fn a_damaged_checkpoint_is_skipped_with_a_warning() {
    let runs = Runs::new();
    let flags = ["--steps", "9", "--save-interval", "3"];
    runs.train("undamaged", &flags);
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
    assert!(error.contains("warning: skipping ") && error.contains("step-9: "), "{error}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("resuming after step 6"), "{stdout}");
    runs.assert_same(["undamaged", "damaged"], 9);
}

#[test]
fn a_run_that_has_saved_no_model_yet_is_refused_with_its_checkpoint() {
    let runs = Runs::new();
    let text = runs.train("run", &["--steps", "9", "--stop-after", "2", "--json"]);
    let report: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert!(report["model"].is_null() && report.get("model").is_some(), "{report}");
    let out = runs.out("run");
    let checkpoint = format!("{out}/checkpoints/step-2");
    let remedy =
        format!("`train --resume --out {out}`, or name its newest checkpoint, {checkpoint}");
    PART_4.assert_fails(&["eval", "--model", &out, "--data", &runs.data], 1, &remedy);
    PART_4.stdout(&["eval", "--model", &checkpoint, "--data", &runs.data]);
}

#[test]
fn more_steps_on_resume_extend_a_run_that_has_ended() {
    let runs = Runs::new();
    runs.train("run", &["--steps", "4", "--lr-scheduler", "constant"]);
    let out = runs.out("run");
    let text = PART_4.stdout(&["train", "--resume", "--out", &out, "--steps", "6"]);
    assert!(text.contains("spans 6 steps from now on, instead of 4"), "{text}");
    runs.train("whole", &["--steps", "6", "--lr-scheduler", "constant"]);
    let rows = |run: &str| {
        let text = String::from_utf8(runs.file(run, "metrics.jsonl")).expect("UTF-8");
        text.lines().filter(|row| row.contains("\"loss\"")).count()
    };
    assert_eq!(rows("run"), rows("whole"), "a row per step");
    let settings = String::from_utf8(runs.file("run", "config.json")).expect("UTF-8");
    assert!(settings.contains("\"steps\": 6"), "{settings}");
}

#[test]
fn incompatible_settings_or_data_are_refused_without_changing_the_run() {
    let runs = Runs::new();
    let flags = ["--steps", "4"];
    let out = runs.out("run");
    let resume = |more: &[&'static str]| [&["train", "--resume", "--out", &out][..], more].concat();
    PART_4.assert_fails(&resume(&[]), 1, "no run in");
    runs.train("run", &flags);
    let files = || {
        ["config.json", "metrics.jsonl", "checkpoints/step-4/state.json"]
            .map(|file| runs.file("run", file))
    };
    let before = files();
    PART_4.assert_fails(&resume(&["--lr", "0.5"]), 1, "lr was 0.003 and is 0.5");
    PART_4.assert_fails(
        &resume(&["--n-embd", "32", "--seed", "9"]),
        1,
        "n_embd was 16 and is 32, seed was 1337 and is 9",
    );
    // The path of the data may change, but not its contents.
    let other = Runs::new();
    other.train("run", &["--steps", "1", "--seed", "3"]);
    let other_data = format!("{}/data", other.out("run"));
    PART_4.assert_fails(
        &["train", "--resume", "--out", &out, "--data", &other_data],
        1,
        "other data",
    );
    let (other_text, text) = (&*other.data, &*runs.data);
    PART_4.assert_fails(
        &["train", "--resume", "--out", &out, "--data", other_text],
        1,
        &format!("the run goes on with its tokens of {text}; omit --data"),
    );
    PART_4.assert_fails(&resume(&["--tokenizer", "gpt2"]), 1, "omit --tokenizer");
    PART_4.assert_fails(&resume(&["--steps", "3"]), 2, "can only make it longer");
    PART_4.assert_fails(&resume(&["--stop-after", "2"]), 2, "has already taken 4 steps");
    assert_eq!(before, files(), "a refused resume changes nothing");
    let moved = runs.out("moved");
    std::fs::rename(format!("{out}/data"), &moved).expect("moved");
    PART_4.assert_fails(&resume(&[]), 1, "tokenizer");
    PART_4.stdout(&["train", "--resume", "--out", &out, "--data", &moved]);
    assert_eq!(before[1..], files()[1..]);
    for step in std::fs::read_dir(format!("{out}/checkpoints")).expect("checkpoints") {
        std::fs::remove_dir_all(step.expect("an entry").path()).expect("removed");
    }
    PART_4.assert_fails(
        &["train", "--resume", "--out", &out, "--data", &moved],
        1,
        "has no checkpoint yet",
    );
}

#[test]
fn a_new_run_in_the_same_folder_keeps_the_old_runs() {
    let runs = Runs::new();
    let flags = ["--steps", "9", "--save-interval", "3"];
    for _ in 0..4 {
        runs.train("run", &[&flags[..], &["--stop-after", "4"]].concat());
    }
    let names = ["run", "run.previous", "run.previous-2", "run.previous-3"];
    for name in names {
        assert!(!crate::steps(&runs.out(&format!("{name}/checkpoints"))).is_empty(), "{name}");
    }
    let (run, data) = (runs.out("run"), format!("{}/data", runs.out("run")));
    PART_4.assert_fails(
        &["train", "--data", &data, "--out", &run],
        1,
        "which would be moved aside",
    );
}

#[test]
fn a_second_process_cannot_write_to_a_run() {
    let runs = Runs::new();
    let mut child = runs.start("run", &["--steps", "100000", "--save-interval", "0"]);
    while runs.last_row("run") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(child.try_wait().expect("a status").is_none(), "the run ended by itself");
    }
    let out = runs.out("run");
    let second =
        PART_4.command(&runs.args(&out, &["--steps", "2"])).output().expect("part_4 starts");
    let resumed =
        PART_4.command(&["train", "--resume", "--out", &out]).output().expect("part_4 starts");
    child.kill().expect("killed");
    child.wait().expect("a status");
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && stderr.contains("another process is writing"), "{stderr}");
    assert!(!resumed.status.success());
    runs.train("run", &["--steps", "2"]); // the lock was released with the process
}
