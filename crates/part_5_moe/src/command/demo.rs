//! The demo: trains a small MoE model and shows which experts process which bytes of a sentence.

use anyhow::Result;
use candle_core::{DType, Tensor};
use datasets::builtin_text::BuiltinText;
use experiment::{Run, RunLog};
use model_io::ModelConfig;
use tensor_core::Parameters;
use tiny_gpt::{ByteCorpus, ByteTokenizer, LanguageModel};

use super::arguments::DemoArgs;
use super::variant::moe_config;
use crate::auxiliary_losses::load_balancing_loss;
use crate::load_monitor::{max_load_ratio, measure_loads};
use crate::picture::{display_byte, expert_usage_table, write_routing_png};
use crate::{GptMoe, LoadBalancing, MoeTrainState, TrainConfig, train};

const SENTENCE: &str = "Mira saw a red bird. \"Where do you go?\" she asked.";

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let dense = ModelConfig::byte_level(64, 2, 4, 64);
    let config = moe_config(&dense, args.experts, args.experts_per_token)?;
    let device = args.compute.open_device()?;
    let (steps, seed) = (args.steps.get(), args.compute.seed);
    let base = tiny_gpt::TrainConfig::with_defaults(steps, 16);
    let load_balancing =
        LoadBalancing { aux_loss_coef: 0.03, z_loss_coef: 0.001, bias_update_rate: 0. };
    let corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = GptMoe::new(&config, parameters.root())?;
    println!(
        "{} experts per layer, top-{} routing: {} parameters, {} active per token\n\
         (a dense model with the same FLOPs per token: {})\n",
        config.router.n_expert,
        config.router.top_k,
        config.parameter_count(),
        config.active_parameter_count(),
        dense.parameter_count()
    );
    let config = TrainConfig { base, load_balancing };
    let run = Run::default(); // Ctrl-C ends the demo at once: nothing is saved
    let mut log = RunLog::of_losses(steps)?;
    let mut state = MoeTrainState::new(parameters, base.optimizer, seed)?;
    train(&model, &mut state, &corpus, &config, None, &run, &mut log)?;
    log.finish()?;
    let model = model.for_inference(&state.train.parameters)?;
    print_routing(&model, args)?;
    let loads = measure_loads(&model, &corpus.validation, base.batch_size)?;
    println!(
        "Max load / mean load on {} validation bytes, worst layer: {:.2}",
        corpus.validation.len(),
        max_load_ratio(&loads)
    );
    println!("Saved {}", args.out.display());
    Ok(())
}

/// Prints the routing of a sentence as a table and as a line per layer, and writes the picture.
fn print_routing(model: &GptMoe, args: &DemoArgs) -> Result<()> {
    let ids = ByteTokenizer.encode(SENTENCE);
    let (logits, layers) =
        model.forward_with_routing(&Tensor::new(&ids[..], model.device())?.unsqueeze(0)?)?;
    let (n_expert, k) = (model.config().router.n_expert, model.config().router.top_k);
    println!("\nRouting of a sentence: {} bytes, logits of shape {:?}", ids.len(), logits.dims());
    for (layer, router_output) in layers.iter().enumerate() {
        let experts = &router_output.selected_experts;
        let loss = load_balancing_loss(&router_output.probabilities, experts, None)?;
        println!(
            "\nlayer {}, load-balancing loss {:.3} (1: balanced, {n_expert}: one expert gets all)",
            layer + 1,
            loss.to_dtype(DType::F64)?.to_scalar::<f64>()?
        );
        print!("{}", expert_usage_table(SENTENCE.as_bytes(), experts, n_expert));
        println!("  {SENTENCE}");
        // One line of the top-1 experts, one of the second experts, and so on.
        for rank in 0..k {
            let digit = |&expert: &u32| char::from_digit(expert, 36).unwrap_or('+');
            let line = experts.iter().skip(rank).step_by(k).map(digit);
            println!("  {}", line.collect::<String>());
        }
    }
    println!();
    // The font lacks the character ␣.
    let name = |byte| if byte == b' ' { "·".into() } else { display_byte(byte) };
    let names: Vec<String> = SENTENCE.bytes().map(name).collect();
    write_routing_png(&args.out, &layers, &names)
}
