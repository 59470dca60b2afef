//! Demo of part 7 with the learner's functions: a judge learns from choices by their loss, and
//! their calibration error says whether it is as sure as it may be.

use candle_core::{DType, Device, Result, Tensor, Var};
use tensor_core::{Rng, backward};

/// Learner's loss.
pub type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Runs the demo with `bradley_terry` and `is_it_sure`.
///
/// # Errors
/// Those of the loss.
pub fn run(bradley_terry: Loss, is_it_sure: fn(&[f64]) -> f64) -> Result<()> {
    let taste = Tensor::new(&[1.5, -1., 0.], &Device::Cpu)?; // of a person: right, rude, long
    let mut rng = Rng::new(7);
    let pairs = |n: usize, rng: &mut Rng| -> Result<Tensor> {
        let difference = rng.normal_tensor((n, 3), 1., DType::F64, &Device::Cpu)?;
        let utility = difference.broadcast_mul(&taste)?.sum(1)?.to_vec1::<f64>()?;
        let sign = utility.iter().map(|u| if rng.uniform() < sigmoid(*u) { 1. } else { -1. });
        difference.broadcast_mul(&Tensor::from_iter(sign, &Device::Cpu)?.reshape((n, 1))?)
    };
    let (training, test) = (pairs(400, &mut rng)?, pairs(400, &mut rng)?);
    let scores = |weights: &Tensor, pairs: &Tensor| pairs.broadcast_mul(weights)?.sum(1);
    let mut weights = Var::new(&[0., 0., 0.], &Device::Cpu)?;
    println!("\nA judge learns 400 choices by your loss:");
    for step in 0..=60 {
        let margin = scores(weights.as_tensor(), &training)?;
        let loss = bradley_terry(&margin, &margin.zeros_like()?)?;
        if step % 20 == 0 {
            println!("  step {step:2}  loss {:.4}", loss.to_scalar::<f64>()?);
        }
        let grads = backward(&loss)?;
        let Some(gradient) = grads.get(weights.as_tensor()) else {
            candle_core::bail!("no gradient reaches the weights: is your loss made of tensors?")
        };
        weights = Var::from_tensor(&(weights.as_tensor() - (gradient * 2.)?)?)?;
    }
    println!("  its taste    {:.2?}", weights.as_tensor().to_vec1::<f64>()?);
    println!("  the person's {:.2?}", taste.to_vec1::<f64>()?);
    let margins: Vec<f64> = scores(weights.as_tensor(), &test)?.to_vec1()?;
    println!("\nYour calibration error, on 400 other choices:");
    for scale in [0.3, 1., 5.] {
        let scaled: Vec<f64> = margins.iter().map(|margin| scale * margin).collect();
        println!("  scores times {scale}: {:.3}", is_it_sure(&scaled));
    }
    println!("The order of the answers is the same in all three; how sure it is, is not.");
    Ok(())
}

fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}
