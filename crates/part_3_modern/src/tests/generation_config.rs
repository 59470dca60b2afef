use anyhow::Result;
use candle_core::DType;
use clap::Parser;
use model_io::model_folder::save;
use model_io::{GenerationConfig, SpecialTokenIds};

use super::{fresh, tiny};
use crate::flags::SamplerFlags;
use crate::sampler::{Sampler, SamplingStrategy};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    sampler: SamplerFlags,
}

fn sampler(strategy: SamplingStrategy, repetition_penalty: f64) -> Sampler {
    Sampler { strategy, repetition_penalty }
}

#[test]
fn a_saved_sampler_is_read_back() -> Result<()> {
    let all = SamplingStrategy::Random { temperature: 0.7, top_k: None, top_p: None, min_p: None };
    let some = SamplingStrategy::Random {
        temperature: 1.,
        top_k: Some(9),
        top_p: Some(0.5),
        min_p: Some(0.1),
    };
    let (_, parameters) = fresh(&tiny(), DType::F32)?;
    let samplers =
        [SamplingStrategy::Greedy, all, some].map(|strategy| Some(sampler(strategy, 1.5)));
    for saved in samplers.into_iter().chain([None]) {
        let folder = tempfile::tempdir()?;
        let config = saved.as_ref().map(GenerationConfig::from);
        save(folder.path(), &tiny(), &parameters, &SpecialTokenIds::default(), config.as_ref())?;
        assert_eq!(GenerationConfig::open(folder.path())?.map(Sampler::from), saved);
    }
    Ok(())
}

#[test]
fn a_flag_overrides_the_sampler_of_the_model() -> Result<()> {
    let flags = |args: &str| {
        let args = std::iter::once("x").chain(args.split_whitespace());
        Ok::<_, clap::Error>(Cli::try_parse_from(args)?.sampler)
    };
    let strategy = SamplingStrategy::Random {
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
    };
    let model_sampler = sampler(strategy, 1.1);
    for (args, expected) in [
        ("", model_sampler),
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
        assert_eq!(flags(args)?.sampler(Some(model_sampler)), expected, "{args}");
        assert_eq!(flags(args)?.chat_sampler(Some(model_sampler)), expected, "{args}");
    }
    // Without a sampler in the model's files, chats are greedy and completions are sampled.
    assert_eq!(flags("")?.chat_sampler(None), Sampler::new(SamplingStrategy::Greedy));
    assert_eq!(
        flags("")?.sampler(None),
        Sampler::new(SamplingStrategy::new(0.8, Some(50), None, None))
    );
    let warmer = Sampler::new(SamplingStrategy::new(0.5, Some(50), None, None));
    assert_eq!(flags("--temperature 0.5")?.chat_sampler(None), warmer);
    Ok(())
}
