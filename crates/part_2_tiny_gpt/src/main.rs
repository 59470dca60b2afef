//! Program of part 2: trains a tiny GPT, samples from it, evaluates it. Without a subcommand: the
//! demo.

mod arguments;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use arguments::{Cli, Command, DemoArgs, EvalArgs, SampleArgs, Split, TrainArgs};
use candle_core::DType;
use experiment::program as command;
use tensor_core::{AdamWConfig, Parameters, Rng};
use tiny_gpt::{
    ByteCorpus, ByteTokenizer, Gpt, GptConfig, LrDecay, Sampling, StreamDecoder, TrainCommand,
    TrainConfig, TrainLog, evaluate, generate, model_folder, train,
};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn main() -> ExitCode {
    command::parse_and_run(|cli: Cli| match cli.command {
        None => run_demo(&cli.demo),
        Some(Command::Train(args)) => run_train(&args),
        Some(Command::Sample(args)) => run_sample(&args),
        Some(Command::Eval(args)) => run_eval(&args),
    })
}

fn run_demo(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let corpus = ByteCorpus::from_bytes(args.text.text().as_bytes());
    let gpt_config = GptConfig::byte_level(64, 2, 4, 128);
    let steps = args.steps.get();
    let config = TrainConfig {
        steps,
        batch_size: 16,
        lr: 3e-3,
        lr_scheduler: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() },
        max_grad_norm: Some(1.),
        eval_interval: steps.div_ceil(4),
        sample_interval: steps,
    };
    let mut parameters = Parameters::seeded(args.compute.seed, DType::F32, &device);
    let model = Gpt::new(&gpt_config, parameters.root())?;
    let n = corpus.train.len();
    println!("GPT with {} parameters, {n} training bytes\n", parameters.n_parameters());
    let sampling = Sampling::new(0.8, None, Some(0.95));
    let mut log = TrainLog::new(steps)?.with_sampling(sampling, 240).stop_on_interrupt()?;
    let best = train(&model, &parameters, &corpus, &config, args.compute.seed, &mut log)?;
    println!(
        "\nvalidation loss {:.4} nats per byte ({:.4} bits); a uniform guess has 5.5452 (8 bits)",
        best.loss, best.bits_per_byte
    );
    Ok(())
}

fn run_train(args: &TrainArgs) -> Result<()> {
    let config = args.size.config()?;
    let TrainArgs { data, out, train, compute, json, .. } = args;
    let command = TrainCommand { data, out, train, compute, json: *json };
    let config_json = model_folder::config_to_json(&config);
    command.run(config.context_len, config.parameter_count(), &config_json, |scope| {
        Gpt::new(&config, scope)
    })
}

fn run_sample(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let model = model_folder::open_byte_level(&args.model, &device)?;
    let prompt = ByteTokenizer.encode(&args.prompt);
    let mut out = std::io::stdout().lock();
    write!(out, "{}", args.prompt.trim_start_matches('\n'))?;
    let mut stream = StreamDecoder::default();
    let mut rng = Rng::new(args.compute.seed);
    generate(&model, &prompt, args.max_new_tokens, &args.sampling.sampling(), &mut rng, |token| {
        write!(out, "{}", stream.push(token))?;
        Ok(out.flush()?)
    })?;
    writeln!(out, "{}", stream.finish())?;
    Ok(())
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let model = model_folder::open_byte_level(&args.model, &device)?;
    let corpus = ByteCorpus::open(&args.data)?;
    let tokens = match args.split {
        Split::Validation => corpus.validation,
        Split::Train => corpus.train,
        Split::All => [corpus.train, corpus.validation].concat(),
    };
    let metrics = evaluate(&model, &tokens, args.batch_size.get(), &device)?;
    if args.json {
        println!("{}", serde_json::to_string(&metrics)?);
    } else {
        let (loss, bits, n) = (metrics.loss, metrics.bits_per_byte, metrics.tokens);
        println!("loss {loss:.4} nats per byte, {bits:.4} bits per byte, over {n} bytes");
    }
    Ok(())
}
