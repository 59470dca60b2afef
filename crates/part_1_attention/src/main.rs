//! Demo of part 1: attention step by step on three tokens, position vectors, then the shapes of
//! multi-head attention.

#[macro_use]
extern crate tensor_core; // its `println!` and the like, which do not panic

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use attention::by_hand::{SelfAttention, example_tokens};
use attention::positions::similarity_at_distance;
use attention::readable_heads::{ReadableHead, attention_maps};
use attention::{BlockConfig, MultiHeadAttention, picture, sinusoidal_positions};
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
    /// Also write the shapes of multi-head attention to this text file
    #[arg(long, value_name = "FILE")]
    shapes: Option<PathBuf>,
}

/// Positions and channels of the table that the demo prints.
const POSITIONS: (usize, usize) = (6, 8);

fn main() -> ExitCode {
    experiment::program::parse_and_run(|args: Args| run(&args))
}

fn run(args: &Args) -> Result<()> {
    print_attention_steps();
    println!();
    print_positions()?;
    println!();
    let shapes = multi_head_shapes()?;
    print!("{shapes}");
    if let Some(path) = &args.shapes {
        create_parent(path)?;
        std::fs::write(path, &shapes).with_context(|| format!("writing {}", path.display()))?;
        println!("\nSaved {}", path.display());
    }
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

/// Prints the first sinusoidal positions, and how alike two of them are by their distance.
fn print_positions() -> Result<()> {
    let (t, c) = POSITIONS;
    let table = sinusoidal_positions(t, c, DType::F32, &Device::Cpu)?; // (T, C)
    println!("Sinusoidal positions: {t} positions, {c} channels in pairs (sin tω, cos tω)\n");
    for (position, row) in table.to_vec2::<f32>()?.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|x| format!("{x:6.3}")).collect();
        println!("  position {position}  [{}]", cells.join(" "));
    }
    let similarities = (0..t).map(|k| format!("{k}: {:.3}", similarity_at_distance(k, c)));
    println!(
        "\nCosine of the angle between two of them, by their distance, wherever they stand:\n  {}",
        similarities.collect::<Vec<_>>().join("  ")
    );
    Ok(())
}

/// Shapes of the steps of multi-head attention, a line each, with a legend.
fn multi_head_shapes() -> Result<String> {
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
    let mut text = format!(
        "Multi-head attention: B={b} sequence, T={t} tokens, C={} channels, H={} heads, \
         D=C/H=4\n\n",
        config.n_embd, config.n_head
    );
    let trace = layer.trace(&x)?;
    let steps = std::iter::once(("x: the input", x.dims())).chain(trace.shapes());
    for (i, (step, shape)) in steps.enumerate() {
        text += &format!("  {:>2}  {step:<48} {shape:?}\n", i + 1);
    }
    Ok(text)
}

fn create_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

fn draw_attention_maps(path: &Path) -> Result<()> {
    let words: Vec<&str> = "the cat sat on the mat and the dog sat on the rug".split(' ').collect();
    create_parent(path)?;
    let titles = ReadableHead::ALL.map(ReadableHead::title);
    picture::write_attention_png(path, &attention_maps(&words)?, &titles, &words)?;
    println!("\nSaved {}", path.display());
    Ok(())
}
