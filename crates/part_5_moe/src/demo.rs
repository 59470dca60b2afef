//! The demo: a small model with experts learns, then reads a sentence and shows who took which byte.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::ModelConfig;
use moe::auxiliary_losses::load_balancing_loss;
use moe::load_monitor::{max_load_ratio, measure_loads};
use moe::picture::write_routing_png;
use moe::routing_table::{display_byte, routing_table};
use moe::{GptMoe, LoadBalancing, TrainConfig, train};
use tensor_core::{AdamWConfig, Parameters};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::{ByteCorpus, ByteTokenizer, LanguageModel, LrDecay, TrainLog};

use crate::arguments::{DemoArgs, moe_config};

const SENTENCE: &str = "Mira saw a red bird. \"Where do you go?\" she asked.";

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let dense = ModelConfig::byte_level(64, 2, 4, 64);
    let config = moe_config(&dense, args.experts, args.experts_per_token)?;
    let device = args.compute.open_device()?;
    let (steps, seed) = (args.steps.get(), args.compute.seed);
    let run = tiny_gpt::TrainConfig {
        steps,
        batch_size: 16,
        lr: 3e-3,
        lr_scheduler: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() },
        max_grad_norm: Some(1.),
        eval_interval: steps,
        sample_interval: 0,
    };
    let balancing = LoadBalancing { aux_loss_coef: 0.03, z_loss_coef: 0.001, bias_update_rate: 0. };
    let corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = GptMoe::new(&config, parameters.root())?;
    println!(
        "{} experts a layer, {} for each token: {} parameters, {} of them at work on a token; a dense model of as much work has {}.\n",
        config.router.n_expert,
        config.router.top_k,
        config.parameter_count(),
        config.active_parameter_count(),
        dense.parameter_count()
    );
    let mut log = TrainLog::new(steps)?; // Ctrl-C ends the demo at once: it keeps nothing
    let config = TrainConfig { base: run, load_balancing: balancing };
    train(&model, &parameters, &corpus, &config, seed, &mut log)?;
    drop(log);
    let model = model.for_inference(&parameters)?;
    print_routing(&model, args)?;
    let loads = measure_loads(&model, &corpus.validation, run.batch_size)?;
    println!(
        "On {} held-out bytes the busiest expert of a layer takes {:.2} times its fair share.",
        corpus.validation.len(),
        max_load_ratio(&loads)
    );
    println!("Saved {}", args.out.display());
    Ok(())
}

/// Where the bytes of a sentence go, in a table, in a line and in a picture.
fn print_routing(model: &GptMoe, args: &DemoArgs) -> Result<()> {
    let ids = ByteTokenizer.encode(SENTENCE);
    let (logits, layers) = model.forward(&Tensor::new(&ids[..], model.device())?.unsqueeze(0)?)?;
    let (n_expert, k) = (model.config().router.n_expert, model.config().router.top_k);
    println!("\nA forward pass: {} bytes in, logits {:?} out", ids.len(), logits.dims());
    for (layer, routed) in layers.iter().enumerate() {
        let balance = load_balancing_loss(&routed.probabilities, &routed.selected_experts, None)?;
        println!(
            "\nlayer {}, load-balancing loss {:.3} (1: even, {n_expert}: one has all)",
            layer + 1,
            balance.to_dtype(DType::F64)?.to_scalar::<f64>()?
        );
        print!("{}", routing_table(SENTENCE.as_bytes(), &routed.selected_experts, n_expert));
        println!("  {SENTENCE}");
        // A line of first choices, one of second ones, and so on.
        for choice in 0..k {
            let digit = |&expert: &u32| char::from_digit(expert, 36).unwrap_or('+');
            let line = routed.selected_experts.iter().skip(choice).step_by(k).map(digit);
            println!("  {}", line.collect::<String>());
        }
    }
    println!();
    // the font has no ␣
    let name = |byte| if byte == b' ' { "·".into() } else { display_byte(byte) };
    let names: Vec<String> = SENTENCE.bytes().map(name).collect();
    write_routing_png(&args.out, &layers, &names)
}
