//! Demo of part 3 with the learner's functions: scores that see distances only, and attention over
//! a million tokens in blocks.

use candle_core::Result;
use tensor_core::Rng;

/// Learner's rotation.
pub type Rotate = fn(&[f64], usize, f64) -> Vec<f64>;

/// Runs the demo with `rotate` and `online_softmax`.
///
/// # Errors
/// None; demos of other parts have some.
pub fn run(rotate: Rotate, online_softmax: fn(&[f64], &[f64], usize) -> f64) -> Result<()> {
    let mut rng = Rng::new(3);
    let [q, k] = [(); 2].map(|()| (0..32).map(|_| rng.normal()).collect::<Vec<f64>>());
    let score = |query: usize, key: usize| -> f64 {
        let (q, k) = (rotate(&q, query, 10_000.), rotate(&k, key, 10_000.));
        q.iter().zip(&k).map(|(q, k)| q * k).sum()
    };
    println!("\nYour rotation: the score of a query with a key so many tokens before it,");
    println!("  distance     query at 40   query at 4,000");
    for distance in [0, 1, 2, 4, 8, 16, 32] {
        let (near, far) = (score(40, 40 - distance), score(4000, 4000 - distance));
        println!("  {distance:8}  {near:14.4}  {far:15.4}");
    }
    let n = 1_000_000;
    let scores: Vec<f64> = (0..n).map(|_| 10. * rng.normal()).collect();
    let values: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
    println!("\nYour online softmax, over a million scores of a row that is never stored:");
    for block in [1, 128, n] {
        println!("  blocks of {block:7}: {:.12}", online_softmax(&scores, &values, block));
    }
    Ok(())
}
