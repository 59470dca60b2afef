//! Demo of part 6 with the learner's functions: the loss mask of a conversation, and what answers
//! are worth by their words.

use candle_core::Result;

/// Runs the demo with `labels_by_place` and `token_f1`.
///
/// # Errors
/// None; demos of other parts have some.
pub fn run(
    labels_by_place: fn(&[u32], usize) -> Vec<i64>,
    token_f1: fn(&[&str], &[&str]) -> f64,
) -> Result<()> {
    let (prompt, completion) = ("Q: What is 19 + 34?\nA:", " 53.");
    let text: Vec<char> = prompt.chars().chain(completion.chars()).collect();
    let mut ids: Vec<u32> = text.iter().map(|&c| u32::from(c)).collect();
    ids.push(256); // the end
    let labels = labels_by_place(&ids, prompt.chars().count());
    let shown = |c: &char| if *c == '\n' { '⏎' } else { *c };
    let marks = labels.iter().map(|label| if *label == -100 { ' ' } else { '^' });
    println!("\nYour labels: the model reads the first line and learns what stands above a ^");
    println!("  reads   {}", text.iter().map(shown).collect::<String>());
    println!("  label   {}■", text.iter().skip(1).map(shown).collect::<String>());
    println!("          {}", marks.collect::<String>());
    println!("\nYour token F1 against \"the sum of both is 53\":");
    for answer in ["53", "it is 53", "the sum of both is 54", "both both both both both"] {
        let words: Vec<&str> = answer.split(' ').collect();
        let f1 = token_f1(&words, &["the", "sum", "of", "both", "is", "53"]);
        println!("  {f1:.2}  {answer}");
    }
    println!("The right number earns less than a wrong one in many right words: chapter 7.");
    Ok(())
}
