//! Demo of part 1 with the learner's functions: the attention map of a head, and an induction head
//! that writes on.

use attention::sinusoidal_positions;
use candle_core::{D, DType, Device, Result, Tensor};

use super::induction::one_hot;

/// Learner's head.
pub type Head = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Result<(Tensor, Tensor)>;

/// Learner's matrix of C channels.
pub type Matrix = fn(usize) -> Result<Tensor>;
/// Learner's induction head.
pub type Induction = fn(&Tensor, &Tensor, f64) -> Result<Tensor>;

/// Runs the demo with `one_head`, `two_words_back` and `induction`.
///
/// # Errors
/// Those of the three functions.
pub fn run(one_head: Head, two_words_back: Matrix, induction: Induction) -> Result<()> {
    let words = ["the", "moon", "is", "high", "the", "night", "is", "deep"];
    let c = 32;
    let x = (sinusoidal_positions(words.len(), c, DType::F64, &Device::Cpu)? * 6.)?;
    let eye = Tensor::eye(c, DType::F64, &Device::Cpu)?;
    let (weights, _) = one_head(&x, &two_words_back(c)?, &eye, &eye)?;
    println!(
        "\nA head whose query looks two words back. Before the first two words there is none:"
    );
    let columns: Vec<String> = words.iter().map(|word| format!("{word:>5}")).collect();
    println!("{:6} {}", "", columns.concat());
    for (word, row) in words.iter().zip(weights.to_vec2::<f64>()?) {
        let cells: Vec<String> = row.iter().map(|weight| format!("{weight:>5.2}")).collect();
        println!("{word:>6} {}", cells.concat());
    }

    let text = b"vexing_dusk! vexi"; // no letter twice, so the one before says all
    let mut tokens: Vec<usize> = text.iter().map(|&byte| usize::from(byte)).collect();
    for _ in 0..20 {
        let (content, before) = one_hot(&tokens, 256)?;
        let output = induction(&content, &before, 30.)?;
        let next = output.narrow(0, tokens.len() - 1, 1)?.argmax(D::Minus1)?;
        tokens.push(next.to_vec1::<u32>()?[0] as usize);
    }
    let written: String = tokens.iter().map(|&token| char::from(token as u8)).collect();
    let (given, written) = written.split_at(text.len());
    println!(
        "\nYour induction head, which nobody trained, goes on after\n  {given}\nwith\n  {written}"
    );
    Ok(())
}
