use anyhow::Result;
use candle_core::DType;
use clap::Parser;
use serde_json::{Value, json};

use super::{error, fresh, tiny};
use crate::flags::SamplerFlags;
use crate::generation_config::read_sampler;
use crate::model_folder::{SpecialTokenIds, save};
use crate::sampler::{Sampler, SamplingStrategy};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    sampler: SamplerFlags,
}

fn said(json: &Value) -> Result<Option<Sampler>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("generation_config.json"), json.to_string())?;
    read_sampler(folder.path())
}

fn sampler(choice: SamplingStrategy, repetition_penalty: f64) -> Sampler {
    Sampler { strategy: choice, repetition_penalty }
}

#[test]
fn a_model_is_sampled_as_its_makers_say() -> Result<()> {
    assert_eq!(said(&json!({ "eos_token_id": 2 }))?, None);
    assert_eq!(said(&json!({ "temperature": 0.6 }))?, None); // transformers is greedy then, too
    assert_eq!(said(&json!({ "do_sample": false }))?, Some(sampler(SamplingStrategy::Greedy, 1.)));
    assert_eq!(
        said(&json!({ "repetition_penalty": 1.1 }))?,
        Some(sampler(SamplingStrategy::Greedy, 1.1))
    );
    // transformers' defaults.
    let plain =
        SamplingStrategy::Random { temperature: 1., top_k: Some(50), top_p: None, min_p: None };
    assert_eq!(said(&json!({ "do_sample": true }))?, Some(sampler(plain, 1.)));
    // Qwen2.5-0.5B-Instruct's file.
    let qwen = json!({ "do_sample": true, "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20 });
    let choice = SamplingStrategy::Random {
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
    };
    assert_eq!(said(&qwen)?, Some(sampler(choice, 1.1)));
    let all = json!({ "do_sample": true, "top_k": 0, "min_p": 0.1 });
    let choice =
        SamplingStrategy::Random { temperature: 1., top_k: None, top_p: None, min_p: Some(0.1) };
    assert_eq!(said(&all)?, Some(sampler(choice, 1.)));
    Ok(())
}

#[test]
fn a_number_that_is_none_is_named() {
    for (key, value) in
        [("temperature", json!(-1)), ("top_p", json!(0)), ("repetition_penalty", json!(0))]
    {
        let message = error(said(&json!({ "do_sample": true, key: value })));
        assert!(message.contains(&format!("`{key}` is {value}")), "{message}");
    }
    assert!(error(said(&json!({ "do_sample": "yes" }))).contains("`do_sample` is \"yes\""));
    assert!(error(said(&json!({ "top_k": -1 }))).contains("`top_k` is -1"));
}

#[test]
fn what_is_saved_is_sampled_as_before() -> Result<()> {
    let all = SamplingStrategy::Random { temperature: 0.7, top_k: None, top_p: None, min_p: None };
    let some = SamplingStrategy::Random {
        temperature: 1.,
        top_k: Some(9),
        top_p: Some(0.5),
        min_p: Some(0.1),
    };
    let (_, parameters) = fresh(&tiny(), DType::F32)?;
    let samplers = [SamplingStrategy::Greedy, all, some].map(|choice| Some(sampler(choice, 1.5)));
    for own in samplers.into_iter().chain([None]) {
        let folder = tempfile::tempdir()?;
        save(folder.path(), &tiny(), &parameters, &SpecialTokenIds::default(), own.as_ref())?;
        assert_eq!(read_sampler(folder.path())?, own);
    }
    Ok(())
}

#[test]
fn a_flag_goes_before_what_the_model_says() -> Result<()> {
    let flags = |args: &str| {
        let args = std::iter::once("x").chain(args.split_whitespace());
        Ok::<_, clap::Error>(Cli::try_parse_from(args)?.sampler)
    };
    let own = SamplingStrategy::Random {
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
    };
    let own = sampler(own, 1.1);
    for (args, expected) in [
        ("", own),
        ("--temperature 0", sampler(SamplingStrategy::Greedy, 1.1)),
        (
            "--top-k 0 --repetition-penalty 1",
            sampler(SamplingStrategy::new(0.7, None, Some(0.8), None), 1.),
        ),
        (
            "--top-p 0.5 --min-p 0.1 --temperature 2",
            sampler(SamplingStrategy::new(2., Some(20), Some(0.5), Some(0.1)), 1.1),
        ),
    ] {
        assert_eq!(flags(args)?.sampler(Some(own)), expected, "{args}");
        assert_eq!(flags(args)?.chat_sampler(Some(own)), expected, "{args}");
    }
    // Without a word from the model, answers are greedy and texts are not.
    assert_eq!(flags("")?.chat_sampler(None), Sampler::new(SamplingStrategy::Greedy));
    assert_eq!(
        flags("")?.sampler(None),
        Sampler::new(SamplingStrategy::new(0.8, Some(50), None, None))
    );
    let warm = Sampler::new(SamplingStrategy::new(0.5, Some(50), None, None));
    assert_eq!(flags("--temperature 0.5")?.chat_sampler(None), warm);
    Ok(())
}
