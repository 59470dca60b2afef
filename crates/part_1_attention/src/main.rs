//! Demo of part 1: attention step by step on three tokens, then the shapes of multi-head attention.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use attention::by_hand::{SelfAttention, example_tokens};
use attention::readable_heads::{ReadableHead, attention_maps};
use attention::{BlockConfig, MultiHeadAttention, picture};
use candle_core::{DType, Device};
use clap::Parser;
use ndarray::Array2;
use tensor_core::ops::Gelu;
use tensor_core::{Parameters, Rng};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Part 1, attention: all numbers of a tiny self-attention, the shapes of multi-head attention
#[derive(Parser)]
#[command(name = "part_1", version)]
struct Args {
    /// Also draw the attention maps of four hand-built heads as PNG
    #[arg(long)]
    visualize: bool,
    /// PNG file of the attention maps
    #[arg(long, value_name = "FILE", default_value = "runs/attention.png")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    print_attention_steps();
    println!();
    print_multi_head_shapes()?;
    if args.visualize {
        draw_attention_maps(&args.out)?;
    }
    Ok(())
}

fn print_attention_steps() {
    let (x, head) = (example_tokens(), SelfAttention::example());
    let trace = head.forward(&x);
    println!("Self-attention by hand: 3 tokens, 4 channels, one head of 2 channels\n");
    print_matrix("X, the tokens", &x);
    print_matrix("Q = X W_q, the queries", &trace.q);
    print_matrix("K = X W_k, the keys", &trace.k);
    print_matrix("V = X W_v, the values", &trace.v);
    print_matrix("scores = Q K^T / sqrt(2), the future masked", &trace.scores);
    print_matrix("weights = softmax of each row", &trace.weights);
    print_matrix("output = weights V", &trace.output);
    println!("Token 1 attends only to itself, so its output is its own value.");
}

fn print_matrix(title: &str, matrix: &Array2<f64>) {
    println!("{title}");
    for row in matrix.rows() {
        let cells: Vec<String> = row.iter().map(|x| format!("{x:9.6}")).collect();
        println!("  [{}]", cells.join(" "));
    }
}

fn print_multi_head_shapes() -> Result<()> {
    let (b, t) = (1, 5);
    let config = BlockConfig {
        n_layer: 1,
        n_head: 3,
        n_embd: 12,
        dropout: 0.,
        gelu: Gelu::Tanh,
        layer_norm_eps: 1e-5,
    };
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    let layer = MultiHeadAttention::new(parameters.root(), &config)?;
    let x = Rng::new(1).normal_tensor((b, t, config.n_embd), 1., DType::F32, &Device::Cpu)?;
    println!("Multi-head attention: B={b} T={t} C={} H={} D=4\n", config.n_embd, config.n_head);
    println!("  {:<48} {:?}", "x: the input", x.dims());
    for (step, shape) in layer.trace(&x)?.shapes() {
        println!("  {step:<48} {shape:?}");
    }
    Ok(())
}

fn draw_attention_maps(path: &Path) -> Result<()> {
    let words: Vec<&str> = "the cat sat on the mat and the dog sat on the rug".split(' ').collect();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    let titles = ReadableHead::ALL.map(ReadableHead::title);
    picture::write_attention_png(path, &attention_maps(&words)?, &titles, &words)?;
    println!("\nSaved {}", path.display());
    Ok(())
}
