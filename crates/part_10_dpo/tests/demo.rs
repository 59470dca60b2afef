//! The command line: the demo, stopping and resuming a run, LoRA, KTO, evaluation, error messages.

use std::path::Path;

use serde_json::{Value, json};
use tensor_core::testing::{CheckpointingRuns, Program, path_arg};

const PART_10: Program = Program(env!("CARGO_BIN_EXE_part_10"));
/// Flags of a small base model.
const SMALL_BASE: &str = "--base-steps 2 --sft-steps 2 --n-layer 1 --n-head 2 --n-embd 16";

/// Command line of a run of a few steps in `out`, with `extra` flags.
fn train<'a>(out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let args = "train --steps 4 --batch-size 4 --eval-pairs 6 --log-interval 1 --tracker none";
    let base = if extra.contains(&"--model") { "" } else { SMALL_BASE };
    let args = args.split_whitespace().chain(base.split_whitespace()).chain(["--out", out]);
    args.chain(extra.iter().copied()).collect()
}

/// Command line of such a run on few pairs.
fn train_on_few_pairs<'a>(out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    train(out, &[extra, &["--pairs", "12"]].concat())
}

fn read_rows(file: impl AsRef<Path>) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("rows");
    text.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

#[test]
fn the_demo_prints_implicit_rewards() {
    let text = PART_10.stdout(&["--base-steps", "2", "--steps", "3"]);
    for part in ["log π before, after", "The capital of", "test pairs: accuracy"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_resumed_run_saves_the_same_model_and_can_be_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let [whole, resumed] = ["whole", "parts"].map(|run| path_arg(folder.path(), run));
    let pairs = ["--pairs", "40"];
    PART_10.stdout(&train(&whole, &pairs));
    PART_10.stdout(&train(&resumed, &[&pairs[..], &["--stop-after", "2"]].concat()));
    PART_10.stdout(&["train", "--resume", "--out", &resumed]);
    for file in ["model/model.safetensors", "model/config.json"] {
        let read = |run: &str| std::fs::read(Path::new(run).join(file)).expect(file);
        assert_eq!(read(&whole), read(&resumed), "{file}");
    }
    let rows = read_rows(Path::new(&whole).join("metrics.jsonl"));
    let first = rows.iter().find(|row| row["step"] == 1).expect("step 1");
    assert!((first["loss"].as_f64().expect("a loss") - std::f64::consts::LN_2).abs() < 1e-5);
    for name in ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"] {
        assert!(first[name].is_number(), "{name}: {first}");
    }
    assert!(first["logps/chosen"].as_f64() < Some(0.), "{first}");
    let text = PART_10.stdout(&["eval", "--model", &whole, "--json"]);
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert!(last["loss"].is_number() && last["rewards/accuracies"].is_number(), "{text}");
    assert!(last["kl"].as_f64() > Some(0.), "{text}");

    // A model does not differ from itself.
    let base = path_arg(Path::new(&whole), "base");
    let args = ["eval", "--model", &base, "--reference", &base, "--max-new-tokens", "4", "--json"];
    let text = PART_10.stdout(&args);
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["kl"], &last["rewards/accuracies"]), (&json!(0.), &json!(0.5)), "{text}");

    // The numbers of the reference belong to its weights.
    let base = Path::new(&resumed).join("base/model.safetensors");
    let mut tensors = tensor_core::weights::load(&base).expect("weights");
    let norm = tensors.get_mut("model.norm.weight").expect("a norm");
    *norm = (&*norm * 1.5).expect("a product");
    tensor_core::weights::save(&base, &tensors).expect("saved");
    let args = ["train", "--resume", "--steps", "6", "--out", &resumed];
    let output = PART_10.command(&args).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the data or the reference model changed"), "{error}");
}

#[test]
fn adapters_and_losses_without_a_reference_and_of_single_completions_are_trained() {
    let folder = tempfile::tempdir().expect("a folder");
    let [base, lora, simpo, kto] =
        ["base", "lora", "simpo", "kto"].map(|run| path_arg(folder.path(), run));
    let argument = ["--chat-template-arg", "style=short"];
    PART_10.stdout(&train(&base, &[&["--pairs", "12", "--steps", "1"], &argument[..]].concat()));
    let model = ["--model", &base, "--pairs", "12"];
    PART_10.stdout(&train(&lora, &[&model[..], &["--lora-rank", "2"]].concat()));
    let config = std::fs::read_to_string(Path::new(&lora).join("config.json")).expect("settings");
    assert!(config.contains(r#"{\"style\":\"short\"}"#), "that of the model's run: {config}");
    assert!(!config.contains("split_rule\": {"), "built-in pairs have splits of their own");
    assert!(Path::new(&lora).join("adapter/adapter_config.json").exists());
    let text = PART_10.stdout(&["eval", "--model", &lora]);
    assert!(text.contains("length alone"), "{text}");
    let trls_name = ["--set", "loss_type=simpo", "--set", "learning_rate=0.001"];
    PART_10.stdout(&train(&simpo, &[&model[..], &trls_name].concat()));
    let config = std::fs::read_to_string(Path::new(&simpo).join("config.json")).expect("settings");
    assert!(config.contains(r#""loss": "simpo""#) && config.contains(r#""lr": 0.001"#), "{config}");
    let names = std::fs::read_dir(&simpo).expect("a run").map(|entry| entry.expect("a file"));
    assert!(!names.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("ref_")));

    let file = path_arg(folder.path(), "rows.jsonl");
    let row = |i: usize| {
        let (prompt, label) = (format!("{i} + 1?"), i.is_multiple_of(2));
        serde_json::json!({ "prompt": prompt, "completion": format!("{}", i + 1), "label": label })
    };
    let rows: String = (0..20).map(|i| format!("{}\n", row(i))).collect();
    std::fs::write(&file, rows).expect("a file");
    let flags = ["--model", &base, "--loss", "kto", "--data", &file];
    PART_10.stdout(&train(&kto, &flags));
    let rows = read_rows(Path::new(&kto).join("metrics.jsonl"));
    assert!(rows.iter().any(|row| row["kl"].is_number() && row["rewards/accuracies"].is_null()));
    for args in [&["--data", &file[..]][..], &[]] {
        let text = PART_10.stdout(&[&["eval", "--model", &kto], args].concat());
        assert!(text.contains("the validation rows of the run's data"), "{args:?}: {text}");
        assert!(text.contains("\n2 rows: loss"), "{args:?}: {text}");
    }
}

/// By its own seed the second run would validate with rows that the first one was trained on.
#[test]
fn a_run_on_the_data_of_an_earlier_one_holds_out_the_same_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second, file] =
        ["first", "second", "rows.jsonl"].map(|name| path_arg(folder.path(), name));
    let row = |i: usize| {
        let (prompt, chosen) = (format!("{i} + 1?"), format!("{}", i + 1));
        format!("{}\n", json!({ "prompt": prompt, "chosen": chosen, "rejected": "no" }))
    };
    std::fs::write(&file, (0..40).map(row).collect::<String>()).expect("a file");
    let half = ["--data", &file, "--validation", "0.5", "--seed", "1"];
    PART_10.stdout(&train(&first, &half));
    let flags = ["--model", &first, "--data", &file, "--seed", "2"];
    let text = PART_10.stdout(&train(&second, &flags));
    assert!(text.contains("held out for validation are the rows that"), "{text}");
    let config = Path::new(&second).join("config.json");
    let settings = std::fs::read_to_string(&config).expect("settings");
    let mut settings: Value = serde_json::from_str(&settings).expect("JSON");
    let rule = &settings["split_rule"];
    assert_eq!((&rule["seed"], &rule["n_validation"]), (&json!(1), &json!(20)));
    let eval = ["eval", "--model", &second, "--max-new-tokens", "2"];
    let text = PART_10.stdout(&eval);
    assert!(text.contains("\n20 rows: loss") && !text.contains("earlier run"), "{text}");

    // A split of its own, as in earlier versions: the first run has learned some of its rows.
    settings["split_rule"]["seed"] = json!(2);
    std::fs::write(&config, settings.to_string()).expect("a file");
    let text = PART_10.stdout(&eval);
    assert!(text.contains("rows that an earlier run of the model was not trained on"), "{text}");
}

#[test]
fn a_run_on_its_own_completions_holds_out_the_share_of_the_rows_that_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let [base, out, file] = ["base", "out", "rows.jsonl"].map(|name| path_arg(folder.path(), name));
    PART_10.stdout(&train(&base, &["--pairs", "12", "--steps", "1"]));
    let row = |i: usize| format!("{{\"prompt\": \"{i} + 1?\", \"answer\": \"{}\"}}\n", i + 1);
    std::fs::write(&file, (0..40).map(row).collect::<String>()).expect("a file");
    let flags = "--online best --reward random --prompts-per-round 4 --group-size 4 --steps 1 \
                 --max-new-tokens 3 --validation 0.5";
    let flags = flags.split_whitespace().chain(["--model", &base, "--data", &file]);
    let text = PART_10.stdout(&train(&out, &flags.collect::<Vec<_>>()));
    assert!(text.contains("20 prompts for training, 6 for validation"), "{text}");
}

#[test]
fn a_policy_learns_from_its_own_completions_and_is_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let [base, whole, resumed, best] =
        ["base", "whole", "parts", "best"].map(|run| path_arg(folder.path(), run));
    PART_10.stdout(&train(&base, &["--pairs", "12", "--steps", "1"]));
    // A reward that often differs, as that of an untrained model's answers does not.
    let online = "--online pairs --reward random --prompts-per-round 4 --group-size 4 \
                  --steps-per-round 2 --sync-ref 1 --max-new-tokens 3 --steps 6 \
                  --warmup-steps 3";
    let online: Vec<&str> = online.split_whitespace().chain(["--model", &base]).collect();
    PART_10.stdout(&train(&whole, &online));
    PART_10.stdout(&train(&resumed, &[&online[..], &["--stop-after", "2"]].concat()));
    // A run that is killed has later rows than those of its checkpoint.
    let rows = |run: &str| Path::new(run).join("metrics.jsonl");
    std::fs::copy(rows(&whole), rows(&resumed)).expect("copied");
    PART_10.stdout(&["train", "--resume", "--out", &resumed]);
    let metrics = ["whole", "parts"].map(|run| {
        let rows = read_rows(folder.path().join(run).join("metrics.jsonl"));
        let without_times = rows.into_iter().map(|mut row| {
            let fields = row.as_object_mut().expect("a row");
            let varying = ["tokens_per_s", "step_time_s", "memory_mb"];
            fields.retain(|key, _| !varying.contains(&key.as_str()));
            row
        });
        without_times.collect::<Vec<_>>()
    });
    assert_eq!(metrics[0], metrics[1]);
    let rounds = metrics[0].iter().filter(|row| row["reward_mean"].is_number()).count();
    assert_eq!(rounds, 3);
    // Each round's reference is the policy at its start.
    for step in [1, 3, 5] {
        let is_first = |row: &&Value| row["step"] == step && row["loss"].is_number();
        let row = metrics[0].iter().find(is_first).expect("a step");
        let loss = row["loss"].as_f64().expect("a loss");
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-5, "{row}");
    }
    assert!(metrics[0].iter().all(|row| row["alarm"].is_null()), "the warm-up is known");

    let flags = "--online best --reward random --prompts-per-round 4 --group-size 4 --steps 2 \
                 --max-new-tokens 3";
    let flags: Vec<&str> = flags.split_whitespace().chain(["--model", &base]).collect();
    PART_10.stdout(&train(&best, &flags));
    assert!(Path::new(&best).join("model/model.safetensors").exists());
    for (flags, message) in [
        (&["--online", "best", "--loss", "ipo"][..], "--loss is for --online pairs"),
        (&["--online", "distill"], "--online distill and --teacher MODEL need each other"),
        (&["--online", "pairs", "--group-size", "1"], "--group-size 1"),
        (&["--online", "pairs", "--reward", "no such"], "unknown reward"),
        (&["--sync-ref", "3"], "--sync-ref needs --online"),
        (
            &["--online", "pairs", "--sync-ref", "3", "--lora-rank", "2"],
            "--sync-ref: the reference",
        ),
    ] {
        PART_10.assert_fails(&train(&whole, &[&["--model", &base], flags].concat()), 2, message);
    }
}

#[test]
#[cfg(unix)]
fn rounds_whose_completions_all_get_the_highest_reward_of_the_run_end_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let [base, out] = ["base", "out"].map(|run| path_arg(folder.path(), run));
    PART_10.stdout(&train(&base, &["--pairs", "12", "--steps", "1"]));
    // 0 for the validation of the start and the first round, 1 for all others.
    let program = r#"calls=0; while read -r line; do
        calls=$((calls + 1)); r=1; if [ "$calls" -le 2 ]; then r=0; fi
        n=$(printf '%s' "$line" | sed 's/.*"terminated":\[//' | tr -cd , | wc -c)
        rewards=$r; while [ "$n" -gt 0 ]; do rewards="$rewards, $r"; n=$((n - 1)); done
        echo "[$rewards]"; done"#;
    let script = path_arg(folder.path(), "reward.sh");
    std::fs::write(&script, program).expect("a script");
    let program = format!("sh {script}");
    let flags = "--online pairs --prompts-per-round 50 --group-size 2 --max-new-tokens 2 --steps 9 \
                 --stop-when-solved 3 --json";
    let flags = flags.split_whitespace().chain(["--model", &base, "--reward-program", &program]);
    let text = PART_10.stdout(&train(&out, &flags.collect::<Vec<_>>()));
    let message = "nothing left to learn at step 4 of 9: all 300 completions";
    assert!(text.contains(message) && !text.contains("solved at"), "{text}");
    let alarm = "ALARM: step 1: all 100 completions of 1 step got the reward 0,";
    assert_eq!((text.matches(alarm).count(), text.matches("ALARM").count()), (1, 1), "{text}");
    let result: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&result["solved_step"], &result["step"]), (&Value::Null, &4.into()));
    assert!(Path::new(&out).join("model/model.safetensors").exists());
}

#[test]
fn a_student_learns_from_a_teacher_and_best_of_n_needs_no_training() {
    let folder = tempfile::tempdir().expect("a folder");
    let [base, teacher] = ["base", "teacher"].map(|run| path_arg(folder.path(), run));
    PART_10.stdout(&train(&base, &["--pairs", "12", "--steps", "1"]));
    let flags = ["--model", &base, "--pairs", "12", "--lr", "0.01"];
    PART_10.stdout(&train(&teacher, &flags));
    for flags in [&["--jsd-beta", "0.5", "--lmbda", "0.5"][..], &["--divergence", "sampled"]] {
        let distill = "--online distill --prompts-per-round 4 --group-size 2 --steps 3";
        let distill = distill.split_whitespace().chain(["--teacher", &teacher, "--model", &base]);
        let student = path_arg(folder.path(), "student");
        PART_10.stdout(&train(&student, &distill.chain(flags.iter().copied()).collect::<Vec<_>>()));
        let rows = read_rows(Path::new(&student).join("metrics.jsonl"));
        assert!(rows.iter().any(|row| row["reverse_kl"].as_f64() > Some(0.)), "{rows:?}");
        let on_policy: Vec<&Value> = rows.iter().filter(|row| row["on_policy"] == true).collect();
        let is_always = !flags.contains(&"--lmbda");
        assert!(!is_always || on_policy.len() == 3, "{rows:?}");
        assert!(on_policy.iter().all(|row| row["sampled_tokens"].as_u64() > Some(0)), "{rows:?}");
    }
    let picture = path_arg(folder.path(), "made/curve.svg");
    let judge = folder.path().join("judge");
    let model = path_arg(folder.path(), "base/model");
    reward::testing::save_untrained_reward_model(&model, &judge, 0.5).expect("a reward model");
    let judge = judge.to_string_lossy();
    let best_of_n = "best-of-n --n 4 --eval-examples 3 --json";
    let paths = ["--picture", &picture, "--model", &base, "--judge", &judge];
    let args = best_of_n.split_whitespace().chain(paths);
    let result = PART_10.stdout_json(&args.collect::<Vec<_>>());
    assert_eq!(result["curve"].as_array().map(Vec::len), Some(3), "n = 1, 2, 4: {result}");
    assert!(Path::new(&picture).exists());

    let revise = "revise --n 2 --rounds 2 --max-new-tokens 4 --prompt 1+1? --prompt 2+3? --json";
    let args = revise.split_whitespace().chain(["--model", &base, "--judge", &judge]);
    let result = PART_10.stdout_json(&args.collect::<Vec<_>>());
    let best = |i: usize| result["rounds"][i]["best"].as_f64();
    assert!(best(0) <= best(1) && best(1) <= best(2), "{result}");
    let scores = result["rounds"].as_array().expect("rounds");
    assert!(scores.iter().all(|round| round["best_independent"].is_number()), "{result}");
}

#[test]
fn bad_input_is_named_and_leaves_the_earlier_run_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let [run, file, other] =
        ["run", "pairs.jsonl", "other"].map(|name| path_arg(folder.path(), name));
    PART_10.stdout(&train(&run, &["--pairs", "12", "--steps", "1"]));
    let before = std::fs::read(Path::new(&run).join("metrics.jsonl")).expect("metrics");
    let long = "12 + 7? ".repeat(100);
    let pairs = [
        serde_json::json!({ "prompt": "1?", "chosen": "same", "rejected": "same " }),
        serde_json::json!({ "prompt": "2?", "chosen": "", "rejected": "x" }),
    ];
    let write = |rows: &[Value]| {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&file, text).expect("a file");
    };
    for (rows, message) in [
        (&pairs[..1], "1 with identical completions"),
        (&pairs[1..], "1 with an empty completion"),
        (&pairs[..], "0 unlabeled; the first is row 1"),
    ] {
        write(rows);
        PART_10.assert_fails(&train(&run, &["--data", &file]), 1, message);
    }
    let long = |first: &str| {
        let prompt = format!("{first}{long}");
        serde_json::json!({ "prompt": prompt, "chosen": "y", "rejected": "x" })
    };
    write(&[long("a"), long("b")]);
    let message = "1 whose prompt fills the context; the first has the prompt";
    PART_10.assert_fails(&train(&run, &["--data", &file]), 1, message);
    for (flags, code, message) in [
        (&["--beta", "0"][..], 2, "--beta"),
        (&["--validation", "0.1"], 2, "--validation is for files"),
        (&["--online", "pairs", "--split-seed", "4"], 2, "--split-seed is for files"),
        (&["--data", "manners", "--test", "0.2"], 2, "--test is for files"),
        (&["--loss", "orpo", "--reference", &other], 2, "this loss has no reference"),
        (&["--loss", "ipo", "--label-smoothing", "0.1"], 2, "sigmoid and robust alone"),
        (&["--reference", &run], 1, "--reference"),
        (&["--model", &run], 1, "--model"),
    ] {
        PART_10.assert_fails(&train(&run, flags), code, message);
    }
    PART_10.stdout(&train(&other, &["--pairs", "12", "--steps", "1"]));
    let tokenizer = Path::new(&other).join("model/tokenizer.json");
    let text = std::fs::read_to_string(&tokenizer).expect("a tokenizer");
    let mut json: Value = serde_json::from_str(&text).expect("JSON");
    let vocab = &mut json["model"]["vocab"];
    (vocab["a"], vocab["b"]) = (vocab["b"].clone(), vocab["a"].clone());
    std::fs::write(&tokenizer, json.to_string()).expect("a tokenizer");
    let next = path_arg(folder.path(), "next");
    let args = train(&next, &["--model", &run, "--reference", &other]);
    PART_10.assert_fails(&args, 1, "has another tokenizer than the policy");
    assert!(!Path::new(&next).exists());
    let after = std::fs::read(Path::new(&run).join("metrics.jsonl")).expect("metrics");
    assert_eq!(before, after, "nothing of the earlier run is lost");
}

#[test]
fn a_judge_and_a_request_that_cannot_work_are_refused_before_a_model_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let request = path_arg(folder.path(), "request.txt");
    let best_of_n = ["best-of-n", "--model", "nowhere", "--judge"];
    let revise = ["revise", "--model", "nowhere", "--prompt", "1 + 1?", "--judge"];
    let needs = "need each other";
    for command in [&best_of_n[..], &revise] {
        for (flags, message) in [
            (&["program"][..], needs),
            (&["judge"], needs),
            (&["no such", "--reward-program", "true"], "unknown reward"),
            (&["length", "--reward-program", "true"], needs),
            (&["length", "--judge-model", "nowhere"], needs),
        ] {
            PART_10.assert_fails(&[command, flags].concat(), 2, message);
        }
    }
    let train = ["train", "--online", "pairs", "--reward", "length", "--reward-program", "true"];
    PART_10.assert_fails(&train, 2, needs);
    let revise = [&revise[..], &["length", "--request", &request]].concat();
    PART_10.assert_fails(&revise, 1, "request.txt");
    std::fs::write(&request, "Write a better answer than {worse}.").expect("a file");
    PART_10.assert_fails(&revise, 2, "it has no {worst}");
    std::fs::write(&request, "{worst}".repeat(1 << 18)).expect("a file");
    PART_10.assert_fails(&revise, 1, "more than the limit of 1048576");
}

#[test]
fn a_table_begins_at_its_seed_and_has_the_methods_that_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path_arg(folder.path(), "table");
    let table = "table --seed 7 --seeds 1 --steps 1 --base-steps 1 --sft-steps 1";
    let table = |methods: &'static str| -> Vec<&str> {
        table.split_whitespace().chain(["--out", &out, "--methods", methods]).collect()
    };
    let text = PART_10.stdout(&table("rejection"));
    assert!(text.contains("rejection sampling, seed 7"), "{text}");
    assert!(text.contains("| rejection sampling | 1 |") && !text.contains("| GRPO |"), "{text}");
    assert!(Path::new(&out).join("rejection-7/model").exists());
    let text = PART_10.stdout(&table("rejection"));
    assert!(!text.contains("seed 7"), "a run was repeated: {text}");
    PART_10.assert_fails(&table("distilled"), 1, "add --methods grpo");
}

#[test]
fn gradient_checkpointing_gives_the_same_weights_also_of_adapters_of_8_bit_adamw_and_resumed() {
    PART_10.assert_gradient_checkpointing_is_exact(&CheckpointingRuns {
        train: train_on_few_pairs,
        checkpoint: "step-4",
        adapter: &["--lora-rank", "2", "--lora-dropout", "0.3", "--lr", "0.01"],
    });
}

#[test]
fn a_run_that_is_over_early_has_a_row_of_its_last_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path_arg(folder.path(), "run");
    let more = "--pairs 12 --lr 1e-12 --eval-interval 1 --patience 1 --log-interval 3";
    PART_10.stdout(&train(&out, &more.split_whitespace().collect::<Vec<_>>()));
    let rows = read_rows(Path::new(&out).join("metrics.jsonl"));
    let steps: Vec<&Value> =
        rows.iter().filter(|row| row["loss"].is_number()).map(|row| &row["step"]).collect();
    assert_eq!(steps, [2], "the second validation is no better than the first: {rows:?}");
}
