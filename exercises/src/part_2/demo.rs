//! Demo of part 2 with the learner's functions: a bigram model learns by their AdamW and writes
//! with their sampling.

use candle_core::Result;
use tensor_core::{AdamWConfig, Rng};

/// Learner's update of a weight.
pub type Update = fn(&mut f64, f64, &mut f64, &mut f64, i32, f64, &AdamWConfig);

/// Weight with its moments.
#[derive(Clone, Copy, Default)]
struct Weight {
    p: f64,
    m: f64,
    v: f64,
}

/// Runs the demo with `adamw` and `top_k_top_p`.
///
/// # Errors
/// None; demos of other parts have some.
pub fn run(adamw: Update, top_k_top_p: fn(&[f64], usize, f64) -> Vec<f64>) -> Result<()> {
    let text = &include_bytes!("../../../data/tiny.txt")[..20_000];
    let config = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
    let mut logits = vec![[Weight::default(); 128]; 128]; // row a: what follows byte a
    println!();
    for t in 1..=60 {
        let mut gradients = vec![[0.; 128]; 128];
        let mut loss = 0.;
        let n = (text.len() - 1) as f64;
        let probabilities: Vec<[f64; 128]> = logits.iter().map(softmax).collect();
        for pair in text.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|byte| usize::from(byte.min(127)));
            loss -= probabilities[a][b].ln() / n;
            for (gradient, p) in gradients[a].iter_mut().zip(&probabilities[a]) {
                *gradient += p / n;
            }
            gradients[a][b] -= 1. / n;
        }
        for (weights, gradients) in logits.iter_mut().zip(&gradients) {
            for (weight, &g) in weights.iter_mut().zip(gradients) {
                adamw(&mut weight.p, g, &mut weight.m, &mut weight.v, t, 0.2, &config);
            }
        }
        if t % 20 == 0 || t == 1 {
            println!("step {t:2}  loss {loss:.3} nats per byte");
        }
    }
    let (mut rng, mut byte, mut sample) = (Rng::new(0), usize::from(b'\n'), String::new());
    for _ in 0..160 {
        let row = logits[byte].map(|weight| weight.p);
        let mut rest = rng.uniform();
        let probabilities = top_k_top_p(&row, 20, 0.95);
        let drawn = probabilities.iter().position(|p| {
            rest -= p;
            rest < 0.
        });
        byte = drawn.unwrap_or(usize::from(b' '));
        sample.push(char::from(byte as u8));
    }
    println!("\nIt knows one letter at a time, and writes with your sampling:\n{sample}");
    Ok(())
}

fn softmax(row: &[Weight; 128]) -> [f64; 128] {
    let max = row.iter().fold(f64::NEG_INFINITY, |max, weight| max.max(weight.p));
    let exp = row.map(|weight| (weight.p - max).exp());
    let sum: f64 = exp.iter().sum();
    exp.map(|exp| exp / sum)
}
