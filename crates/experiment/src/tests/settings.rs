//! Settings of several sources, and the flags that clap suggests.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::RunFolder;
use crate::settings::{check_resolved, check_resumable, expand_config};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: TestCommand,
}

#[derive(Debug, Subcommand)]
enum TestCommand {
    Train(TrainArgs),
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct TrainArgs {
    #[arg(long)]
    steps: Option<usize>,
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<f64>,
    #[arg(long)]
    warmup_steps: Option<usize>,
    #[arg(long, conflicts_with = "warmup_steps")]
    warmup_ratio: Option<f64>,
    #[arg(long, hide = true)]
    gamma: Option<f64>,
    #[arg(long, alias = "sampels")]
    samples: Option<usize>,
    #[arg(long, value_parser = crate::number::positive)]
    target: Option<f64>,
    #[arg(long)]
    seed: Option<usize>,
    #[arg(long)]
    run_name: Option<String>,
    #[arg(long, default_value = "0.5")]
    temperature: f64,
    #[arg(long, default_value = "runs/x")]
    out: std::path::PathBuf,
    #[command(flatten)]
    settings: crate::settings::SettingsFlags,
}

fn parse(args: &str) -> Result<TrainArgs> {
    let args = ["test", "train"].into_iter().chain(args.split_whitespace());
    let Cli { command: TestCommand::Train(args) } = crate::command_line::parse(args, &[])?;
    Ok(args)
}

#[test]
fn a_later_source_replaces_the_other_way_to_set_the_same_quantity() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, out) = (folder.path().join("run.yaml"), folder.path().join("run"));
    std::fs::write(&file, "epochs: 3\nwarmup_steps: 10\n")?;
    let file = format!("--config {}", file.display());
    let args = parse(&file)?;
    assert_eq!((args.steps, args.epochs, args.warmup_steps), (None, Some(3.), Some(10)));
    let args = parse(&format!("{file} --steps 2 --set warmup_ratio=0.1"))?;
    assert_eq!((args.steps, args.epochs), (Some(2), None), "the flag wins over the file");
    assert_eq!((args.warmup_steps, args.warmup_ratio), (None, Some(0.1)), "and so does --set");
    let settings = serde_json::json!({ "steps": 38, "epochs": null });
    RunFolder::create(&out, &settings).map(drop)?;
    let resume = format!("--resume --out {}", out.display());
    assert_eq!(parse(&resume)?.steps, Some(38));
    let args = parse(&format!("{resume} --epochs 5"))?;
    assert_eq!((args.steps, args.epochs), (None, Some(5.)), "a resumed run is made longer");
    let other = serde_json::json!({ "steps": 38, "assistant_turns": "all" });
    let other_out = folder.path().join("other");
    RunFolder::create(&other_out, &other).map(drop)?;
    let error = parse(&format!("--resume --out {}", other_out.display())).unwrap_err().to_string();
    assert!(error.contains("a run of another program or version: `assistant_turns`"), "{error}");
    for line in ["--set epochs", "--set resume=true"] {
        let error = parse(line).unwrap_err();
        assert!(error.is::<crate::program::UsageError>(), "the arguments alone decide: {error}");
    }
    let error = parse("--steps 2 --epochs 1").unwrap_err().to_string();
    assert!(error.contains("cannot be used with"), "both in one source: {error}");
    let line = expand_config::<Cli>(["test", "train", "--set", "epochs=null", "--steps", "2"])?;
    assert!(line.iter().any(|flag| flag == "--steps"), "null sets nothing");
    Ok(())
}

#[test]
fn flags_may_have_underscores() -> Result<()> {
    let args = parse("--warmup_ratio=0.5 --out a_b --set max_x=1").map(|args| args.warmup_ratio);
    assert!(args.unwrap_err().to_string().contains("max_x"), "keys of --set are checked as such");
    let args = parse("--warmup_ratio=0.5 --out --a_b=c_d --steps 1");
    assert!(args.is_err(), "a value does not begin with dashes");
    let args = parse("--warmup_ratio 0.5 --out a_b")?;
    assert_eq!((args.warmup_ratio, args.out.to_str()), (Some(0.5), Some("a_b")));
    Ok(())
}

#[test]
fn only_visible_flags_are_suggested() {
    let error = |args: &str| parse(args).unwrap_err().to_string();
    let visible = error("--epoch 1");
    assert!(visible.contains("a similar argument exists: '--epochs'"), "{visible}");
    for hidden in [error("--gama 1"), error("--sampel 1")] {
        assert!(hidden.contains("unexpected argument"), "{hidden}");
        assert!(!hidden.contains("'--gamma'") && !hidden.contains("'--sampels'"), "{hidden}");
    }
}

/// Settings of `--config FILE` and `more`, where FILE holds `yaml` and stands beside `files`.
fn parse_files(yaml: &str, files: &[(&str, &str)], more: &str) -> Result<TrainArgs> {
    let folder = tempfile::tempdir()?;
    for (name, yaml) in files.iter().chain(&[("run.yaml", yaml)]) {
        std::fs::write(folder.path().join(name), yaml)?;
    }
    parse(&format!("--config {} {more}", folder.path().join("run.yaml").display()))
}

/// Error of such a command line, on one line.
fn refused(yaml: &str, files: &[(&str, &str)], more: &str) -> String {
    let error = parse_files(yaml, files, more).expect_err("refused");
    crate::program::one_line(&error)
}

const TUTORIAL: &str = "training: {total_ppo_steps: 30, output_dir: 'runs/${training.seed}'}\n\
                        training.seed: 4\nppo: {warmup_steps: 7}\n";

#[test]
fn sections_have_the_keys_of_the_tutorial_and_of_the_flags() -> Result<()> {
    let args = parse_files("training:\n  total_ppo_steps: 30\n  gamma: 0.5\nwandb:\n", &[], "")?;
    assert_eq!((args.steps, args.gamma), (Some(30), Some(0.5)));
    let args = parse_files("ppo.use_8bit_adam: false\nmodel.trust_remote_code: true\n", &[], "")?;
    assert_eq!(args.steps, None, "keys without an effect");
    // Off is what a command does that lacks the flag.
    parse_files("training: {gradient_checkpointing: false}", &[], "")?;
    for (yaml, message) in [
        (
            "training: {gradient_checkpointing: true}",
            "means --gradient-checkpointing, which `train`",
        ),
        ("ppo: {use_8bit_adam: true}", "means --optim, which `train` does not have"),
        ("bf16: true", "means --dtype, which `train` does not have"),
        ("generation: {do_sample: false}", "set it to true"),
        ("model: {name: a, tokenizer_name: b}", "must be the value of `model.name`"),
        (
            "training: {total_ppo_steps: 1}\nsteps: 2",
            "`training.total_ppo_steps` and `steps` both mean",
        ),
    ] {
        let error = refused(yaml, &[], "");
        assert!(error.contains(message), "{error}");
    }
    parse_files("training: {total_ppo_steps: 2}\nsteps: 2", &[], "")?;
    Ok(())
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    for (yaml, unknown, nearest) in [
        ("ppo: {warmup_step: 1}", "ppo.warmup_step", "ppo.warmup_steps"),
        ("training: {total_steps: null}", "training.total_steps", "training.total_ppo_steps"),
        ("optimizer: {lr: 1}", "optimizer.lr", "ppo.min_lr"),
        ("epoch: 1", "epoch", "epochs"),
    ] {
        let error = refused(yaml, &[], "");
        let (unknown, nearest) =
            (format!("`{unknown}` is not a"), format!("nearest is `{nearest}`"));
        assert!(error.contains(&unknown) && error.contains(&nearest), "{error}");
    }
    for key in ["confg", "resum", "sett"] {
        let error = refused(&format!("{key}: 1"), &[], "");
        let has_nearest = |flag: &str| error.contains(&format!("nearest is `{flag}`"));
        assert!(!["config", "resume", "set"].into_iter().any(has_nearest), "{error}");
    }
    let long = refused(&format!("{}: 1", "epoch".repeat(1 << 16)), &[], "");
    assert!(long.len() < 5000, "{} bytes", long.len());
    let error = parse("training.total_step=1").expect_err("refused");
    assert!(error.is::<crate::program::UsageError>(), "{error}");
}

#[test]
fn a_file_inherits_from_its_defaults_which_it_overrides() -> Result<()> {
    let base = [("base.yaml", TUTORIAL), ("more.yaml", "defaults: base.yaml\nsteps: 31\n")];
    let args = parse_files("defaults: [more.yaml]\ntraining: {total_ppo_steps: 2}", &base, "")?;
    assert_eq!((args.steps, args.warmup_steps), (Some(2), Some(7)));
    let args = parse_files("defaults: [more.yaml]\nseed: 1", &base, "")?;
    assert_eq!(args.steps, Some(31), "another name of a setting overrides it");
    for (yaml, message) in [
        ("defaults: [run.yaml]", "run.yaml → "),
        ("defaults: [circle.yaml]", "go round in a circle"),
        ("defaults: [nowhere.yaml]", "nowhere.yaml"),
        ("defaults: [{a: 1}]", "must list YAML files"),
    ] {
        let error = refused(yaml, &[("circle.yaml", "defaults: run.yaml")], "");
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}

/// Files and values that name the next one twice: the last is named a billion times.
#[test]
fn what_multiplies_is_refused_before_it_fills_the_memory() {
    let names: Vec<String> = (0..30).map(|i| format!("{i}.yaml")).collect();
    let texts: Vec<String> = (1..=30).map(|i| format!("defaults: [{i}.yaml, {i}.yaml]")).collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
    files.push(("30.yaml", "seed: 1"));
    let error = refused("defaults: [0.yaml]", &files, "");
    assert!(error.contains("list more than 100 files"), "{error}");
    let error = refused("defaults: [/dev/zero]", &[], "");
    assert!(error.contains("a device or a pipe, not a regular file"), "{error}");
    for (last, message) in [("", "more than 1000 references"), ("long", "more than 1048576 bytes")]
    {
        let values = (1..30).map(|i| format!("a.k{i}: '${{a.k{}}}${{a.k{}}}'\n", i - 1, i - 1));
        let last = last.repeat(1 << 16);
        let yaml: String = values.chain([format!("a.k0: '{last}'\nout: '${{a.k29}}'")]).collect();
        let error = refused(&yaml, &[], "");
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_reference_is_the_value_that_another_key_has_in_the_end() -> Result<()> {
    let base = [("base.yaml", TUTORIAL)];
    let out = |yaml: &str, more: &str| -> Result<String> {
        Ok(parse_files(yaml, &base, more)?.out.to_string_lossy().into_owned())
    };
    let heir = "defaults: base.yaml\ntraining: {seed: 5}";
    assert_eq!(out(heir, "")?, "runs/5");
    assert_eq!(out(heir, "--gamma 1 training.seed=6")?, "runs/6");
    assert_eq!(out("out: '\\${a}-${steps}'\nsteps: 3", "")?, "${a}-3");
    let args = parse_files("steps: ${ppo.warmup_steps}\nppo: {warmup_steps: 4}", &[], "")?;
    assert_eq!(args.steps, Some(4), "a number stays one");
    for (yaml, message) in [
        ("out: 'a${steps}'", "there is no setting `steps`"),
        ("out: ${out}", "in a circle: ${out} → ${out}"),
        ("out: a${x.y\n", "lacks a closing brace"),
        ("samples: 1\nout: '${training.seed}'\ntraining: {seed: '${out}'}", "in a circle: ${"),
    ] {
        let error = refused(yaml, &[], "");
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}

#[test]
fn pairs_after_the_flags_are_settings_unless_a_flag_takes_them_as_its_value() -> Result<()> {
    let args = parse_files(TUTORIAL, &[], "--gamma 0.5 ppo.warmup_steps=3 steps=9 --out a=b")?;
    assert_eq!((args.steps, args.warmup_steps, args.gamma), (Some(9), Some(3), Some(0.5)));
    assert_eq!(args.out.to_str(), Some("a=b"));
    assert_eq!(parse("steps=9 --steps 3")?.steps, Some(3), "flags win");
    assert!(parse("a-b").is_err(), "other words stay an error of clap's");
    Ok(())
}

#[test]
fn a_number_that_is_not_finite_does_not_vanish_from_a_file() -> Result<()> {
    for number in [".inf", "-.inf", ".nan"] {
        let error = refused(&format!("target: {number}"), &[], "");
        assert!(error.contains("--target") && error.contains("not a finite number"), "{error}");
    }
    let args = parse_files("gamma: 5e-6\nout: 12", &[], "")?;
    assert_eq!((args.gamma, args.out.to_str()), (Some(5e-6), Some("12")));
    Ok(())
}

#[test]
fn the_rule_of_a_split_is_recorded_and_is_not_a_setting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let rule = serde_json::json!({ "n_rows": 40, "seed": 90 });
    let settings = serde_json::json!({ "steps": 38, "seed": 3, "split_rule": rule });
    RunFolder::create(&out, &settings).map(drop)?;
    let resumed = parse(&format!("--resume --out {}", out.display()))?;
    assert_eq!((resumed.steps, resumed.seed), (Some(38), Some(3)), "a run is resumed without it");
    for file in ["config.json", "effective_config.yaml"] {
        let args = parse(&format!("--config {}", out.join(file).display()))?;
        assert_eq!((args.steps, args.seed), (Some(38), Some(3)), "{file}");
    }
    let yaml = std::fs::read_to_string(out.join("effective_config.yaml"))?;
    assert!(!yaml.contains("split_rule"), "{yaml}");
    Ok(())
}

#[test]
fn the_effective_settings_reopen_as_a_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = serde_json::json!({
        "steps": 3, "epochs": null, "gamma": 1e-7, "out": "a: ${b} \"c\" # d", "stop_after": 2,
    });
    drop(RunFolder::create(&folder.path().join("run"), &settings)?);
    let file = folder.path().join("run/effective_config.yaml");
    let args = parse(&format!("--config {}", file.display()))?;
    assert_eq!((args.steps, args.epochs, args.gamma), (Some(3), None, Some(1e-7)));
    assert_eq!(args.out.to_str(), Some("a: ${b} \"c\" # d"));
    Ok(())
}

#[test]
fn the_long_help_lists_the_keys_of_other_projects_that_a_command_has() {
    let error = parse("--help").expect_err("help").to_string();
    assert!(error.contains("training.total_ppo_steps            --steps\n"), "{error}");
    assert!(error.contains("generation.do_sample                only true"), "{error}");
    assert!(!error.contains("ppo.vf_coeff"), "{error}");
}

#[test]
fn a_reference_is_the_value_of_a_flag_of_an_alias_or_of_the_default() -> Result<()> {
    let name = |yaml: &str, more: &str| parse_files(yaml, &[], more).map(|args| args.run_name);
    let yaml = "run_name: seed-${training.seed}\nseed: 3\n";
    assert_eq!(name(yaml, "")?.as_deref(), Some("seed-3"), "the key of a section means the flag");
    assert_eq!(name(yaml, "--seed 5")?.as_deref(), Some("seed-5"), "a flag wins here, too");
    assert_eq!(name(yaml, "training.seed=4")?.as_deref(), Some("seed-4"));
    let yaml = "run_name: at-${generation.temperature}\n";
    assert_eq!(name("run_name: at-${temperature}\n", "")?.as_deref(), Some("at-0.5"));
    assert_eq!(name(yaml, "--temperature=0.7")?.as_deref(), Some("at-0.7"));
    Ok(())
}

#[test]
fn pairs_win_in_their_order_and_stay_as_they_are_written() -> Result<()> {
    assert_eq!(parse("seed=1 --set seed=2")?.seed, Some(2));
    assert_eq!(parse("--set seed=2 seed=1")?.seed, Some(1));
    assert_eq!(parse("--set=seed=2 seed=1 --set=seed=3")?.seed, Some(3));
    assert_eq!(parse("run_name=1e5")?.run_name.as_deref(), Some("1e5"));
    assert_eq!(parse("--set run_name=007")?.run_name.as_deref(), Some("007"));
    Ok(())
}

#[test]
fn a_run_without_a_newer_setting_had_its_default() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let old = serde_json::json!({ "steps": 38, "warmup_steps": 4, "warmup_ratio": null });
    RunFolder::create(folder.path(), &old).map(drop)?;
    let check = |mut settings: serde_json::Value| {
        settings["steps"] = 38.into();
        settings["out"] = "runs/x".into();
        check_resumable::<TrainArgs>(folder.path(), &settings, &[])
    };
    let today = serde_json::json!({ "warmup_steps": 4, "temperature": 0.5 });
    check(today)?;
    let other = serde_json::json!({ "warmup_steps": 4, "temperature": 1.0 });
    let error = check(other).unwrap_err().to_string();
    assert!(error.contains("temperature was 0.5 and is 1.0"), "{error}");
    // The other way to set the warm-up is compared once it is resolved
    check(serde_json::json!({ "warmup_ratio": 0.1, "temperature": 0.5 }))?;
    let resolved = |steps: usize| serde_json::json!({ "steps": 38, "warmup_steps": steps });
    check_resolved(&old, &resolved(4))?;
    let error = check_resolved(&old, &resolved(5)).unwrap_err().to_string();
    assert!(error.contains("warmup_steps was 4 and is 5"), "{error}");
    Ok(())
}

#[test]
fn the_command_help_takes_the_flag_help() {
    for args in ["help", "help --help", "help train -h"] {
        let args = ["test"].into_iter().chain(args.split_whitespace());
        let Err(error) = crate::command_line::parse::<Cli>(args, &[]) else { panic!("no help") };
        let kind = error.downcast_ref::<clap::Error>().map(clap::Error::kind);
        assert_eq!(kind, Some(clap::error::ErrorKind::DisplayHelp), "{error}");
    }
}
