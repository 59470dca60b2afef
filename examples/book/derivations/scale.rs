//! Chapters 4 and 5.

use anyhow::Result;
use candle_core::{DType, Tensor};
use moe::auxiliary_losses::load_balancing_loss;
use scaling::LrSchedule;
use scaling::naive_bpe;
use tensor_core::muon::orthogonalize;
use tensor_core::testing::assert_close;

use super::{distribution, tensor};
use crate::compute_budget::{A, ALPHA, B, BETA, best_size, loss};
use crate::precision::rounded;
use crate::scaling_law::{Law, RUNS, Run};
use crate::{capacity, float_bits, merges};

#[test]
fn merges_of_the_text() {
    let word: Vec<u32> = b"aaabdaaabac".iter().map(|&byte| u32::from(byte)).collect();
    let [a, b] = [b'a', b'b'].map(u32::from);
    let merges = naive_bpe::train(vec![word.clone()], 10, 256);
    assert_eq!(merges, [(a, a), (a, b), (256, 257)]);
    assert_eq!(naive_bpe::encode(word, &merges, 256).len(), 5); // X d X a c
}

#[test]
fn a_mean_of_means_is_not_the_mean() {
    assert_close([(2. * 4. + 30. * 1.) / 32., (4. + 1.) / 2.], [1.1875, 2.5], 1e-12);
    assert_close([0.5, 2. / 32.], [0.5, 0.0625], 1e-12);
}

#[test]
fn a_weight_in_bf16_does_not_move() -> Result<()> {
    assert_eq!(rounded(1. + 0.003, DType::BF16)?, 1.);
    assert_eq!(rounded(1. + 2f64.powi(-7), DType::BF16)?, 1.0078125);
    assert_eq!(rounded(1. + 2f64.powi(-10), DType::F16)?, 1.0009765625);
    assert_eq!(rounded(65_504., DType::F16)?, 65_504.);
    assert!(rounded(1e-8 * 65_536., DType::F16)? > 0.);
    Ok(())
}

#[test]
fn learning_rates_of_the_text() {
    let schedule = LrSchedule::cosine(3e-3, 1500);
    assert_eq!(schedule.warmup_steps, 75);
    let at = [1, 75, 1500].map(|step| schedule.lr_at(step));
    assert_close(at, [4e-5, 3e-3, 3e-4], 1e-12);
    let middle = schedule.lr_at(75 + 1425 / 2);
    assert_close(middle, (3e-3 + 3e-4) / 2., 5e-3);
}

#[test]
fn muon_makes_singular_values_alike() -> Result<()> {
    let polynomial = |s: f64| 3.4445 * s - 4.7750 * s.powi(3) + 2.0315 * s.powi(5);
    let values = [0.5545, 1.0501, 1.2024, 0.6818].map(polynomial);
    assert_close(values, [1.2024, 0.6818, 0.9465, 1.1344], 1e-4);
    let after_four = (0..4).fold(0.0053, |s, _| polynomial(s));
    assert!((0.6818..1.2024).contains(&after_four), "{after_four}");
    let diagonal = tensor(&[1., 0., 0., 0.01])?.reshape((2, 2))?;
    let values = orthogonalize(&diagonal)?.flatten_all()?.to_vec1::<f64>()?;
    assert_close([values[0], values[3]], [0.7, 0.7], 5e-3);
    Ok(())
}

/// The operations and the memory of Muon in the README of part 4.
#[test]
fn orthogonalizing_costs_as_much_as_some_tokens() {
    let operations = |m: f64, n: f64| 20. * m * m * n + 10. * m.powi(3);
    assert_close(operations(64., 64.) / (6. * 64. * 64.), 5. * 64., 1e-12);
    assert_close(operations(1., 1e6) / (6. * 1e6), 3.33, 2e-3);
    let of_stories = 4. * (4. * operations(128., 128.) + 3. * operations(128., 344.));
    let tokens = of_stories / (6. * 1_053_824.);
    assert_close([tokens, tokens / 4096.], [413., 0.1], 2e-3);
    let of_layer =
        2. * operations(576., 576.) + 2. * operations(192., 576.) + 3. * operations(576., 1536.);
    let weights = 134_515_008.;
    let tokens = 30. * of_layer / (6. * weights);
    assert_close([tokens, tokens / 65_536.], [1813., 0.028], 2e-3);
    let hidden = 30. * 576. * (2. * 576. + 2. * 192. + 3. * 1536.);
    assert_close(hidden / weights, 0.79, 2e-3);
    let bytes = [12. * hidden + 16. * (weights - hidden), 16. * weights];
    assert_close(bytes.map(|bytes| bytes / 1e9), [1.73, 2.15], 2e-3);
}

#[test]
fn compute_of_a_run_is_6_n_d() {
    let (n, d) = (1_053_824., 1500. * 16. * 256.);
    assert_close(d, 6.144e6, 1e-12);
    assert_close(6. * n * d / 1e13, 3.88, 5e-3);
    assert_close(6. * n * d / (d / 16_272.) / 1e9, 103., 5e-3);
    assert_close(16. * 1e9 / 1e9, 16., 0.);
}

#[test]
fn the_best_size_for_a_budget_balances_both_terms() {
    for budget in [1e18, 1e21, 1e24] {
        let n = best_size(budget);
        let d = budget / (6. * n);
        assert_close(ALPHA * A / n.powf(ALPHA), BETA * B / d.powf(BETA), 1e-9);
        for factor in [0.5, 0.9, 1.1, 2.] {
            assert!(loss(n * factor, d / factor) > loss(n, d));
        }
    }
    assert_close([BETA / (ALPHA + BETA), ALPHA / (ALPHA + BETA)], [0.45, 0.55], 5e-3);
}

fn balance(probabilities: &[[f64; 2]], experts: &[u32]) -> Result<f64> {
    let flat: Vec<f64> = probabilities.iter().flatten().copied().collect();
    let x: Tensor = tensor(&flat)?.reshape((probabilities.len(), 2))?;
    Ok(load_balancing_loss(&x, experts, None)?.to_scalar()?)
}

#[test]
fn the_balancing_loss_of_four_tokens() -> Result<()> {
    let tokens = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]];
    assert_close(balance(&tokens, &[0, 0, 0, 1])?, 1.15, 1e-12);
    assert_close(balance(&[[0.5, 0.5]; 4], &[0, 1, 0, 1])?, 1., 1e-12);
    assert_close(balance(&[[1., 0.]; 4], &[0; 4])?, 2., 1e-12);
    // With f = P: E Σ P² is at least 1.
    for seed in 0..20 {
        let p = distribution(6, seed);
        assert!(6. * p.iter().map(|p| p * p).sum::<f64>() >= 1.);
    }
    Ok(())
}

#[test]
fn merges_and_bits_of_the_figures() -> Result<()> {
    let lengths: Vec<usize> = merges::steps().iter().map(Vec::len).collect();
    assert_eq!(lengths, [11, 9, 7, 5]);
    for (dtype, expected) in [
        (DType::F32, "00111111100000000110001001001110"),
        (DType::BF16, "0011111110000000"),
        (DType::F16, "0011110000000011"),
    ] {
        assert_eq!(float_bits::bits(rounded(1.003, dtype)?, dtype).1, expected);
    }
    Ok(())
}

#[test]
fn experts_that_are_full_drop_what_exceeds_their_capacity() {
    assert!(capacity::dropped([0.25; 4], 1.15) < 1e-9);
    assert_close(capacity::dropped([0.82, 0.06, 0.06, 0.06], 2.), 0.82 - 0.5, 0.02);
}

#[test]
fn the_fit_finds_the_law_that_made_the_losses() {
    let law = Law { entropy: 0.9, a: 0.2, b: 0.3, alpha: 0.45, beta: 0.6 };
    let losses = RUNS.map(|run| Run { loss: law.loss(&run), ..run });
    let found = Law::fit(&losses);
    assert_close([found.alpha, found.beta], [law.alpha, law.beta], 1e-9);
    assert_close([found.entropy, found.a, found.b], [0.9, 0.2, 0.3], 1e-9);
    // Its best size balances both terms.
    let n = law.best_size(1e12);
    let at = |n: f64| Run { n_weights: n as usize, n_tokens: (1e12 / 6. / n) as usize, loss: 0. };
    for factor in [0.8, 1.25] {
        assert!(law.loss(&at(n * factor)) > law.loss(&at(n)));
    }
}

#[test]
fn the_law_of_the_measured_runs() {
    let law = Law::fit(&RUNS);
    assert_close([law.alpha, law.beta, law.size_exponent()], [0.53, 0.61, 0.535], 5e-4);
    assert_close([law.entropy, law.a, law.b], [0.909, 0.160, 0.207], 1e-3);
    let error = (law.squared_error(&RUNS) / RUNS.len() as f64).sqrt();
    assert_close(error, 0.0125, 5e-4);
    // Without the run of the most operations, which the law then predicts.
    let of_most = |a: &Run, b: &Run| a.operations().total_cmp(&b.operations());
    let largest = *RUNS.iter().max_by(|a, b| of_most(a, b)).expect("runs");
    let others = RUNS.iter().copied().filter(|run| run.loss != largest.loss);
    let prediction = Law::fit(&others.collect::<Vec<_>>()).loss(&largest);
    assert_close([prediction, largest.loss], [1.254, 1.262], 5e-4);
    // Exponents of fits that leave out one amount of text or one size.
    let without = |leave_out: &dyn Fn(&Run) -> bool| {
        let kept: Vec<Run> = RUNS.iter().copied().filter(|run| !leave_out(run)).collect();
        Law::fit(&kept).size_exponent()
    };
    let mut exponents: Vec<f64> = (17..=20)
        .map(|log2| without(&|run| run.n_tokens == 1 << log2))
        .chain(RUNS.chunks(4).map(|runs| without(&|run| run.n_weights == runs[0].n_weights)))
        .collect();
    exponents.sort_by(f64::total_cmp);
    assert_close([exponents[0], exponents[7]], [0.41, 0.56], 5e-3);
}
