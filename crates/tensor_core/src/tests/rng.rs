use candle_core::{DType, Device, Result};
use rand::RngCore;

use crate::Rng;

#[test]
fn the_stream_is_xoshiro256_plus_plus() {
    // First outputs for state 1, 2, 3, 4, from the authors' C code (prng.di.unimi.it).
    let mut rng: Rng = serde_json::from_str(r#"{"state":[1,2,3,4]}"#).unwrap();
    assert_eq!(rng.next_u64(), 41943041);
    assert_eq!(rng.next_u64(), 58720359);
    assert_eq!(rng.next_u64(), 3588806011781223);
    assert_eq!(rng.next_u64(), 3591011842654386);
}

#[test]
fn distributions_of_rand_sample_from_it() {
    use rand::distr::{Distribution, Uniform};
    let (mut rng, mut again) = (Rng::new(5), Rng::new(5));
    let die = Uniform::new_inclusive(1, 6).unwrap();
    for _ in 0..100 {
        assert!((1..=6).contains(&die.sample(&mut rng)));
    }
    // The 53 high bits of a number, as fraction.
    let word = again.clone().next_u64();
    assert_eq!(again.uniform(), (word >> 11) as f64 / 2f64.powi(53));
}

#[test]
fn a_saved_state_continues_the_same_stream() {
    let mut rng = Rng::new(7);
    rng.next_u64();
    let saved = serde_json::to_string(&rng).unwrap();
    assert!(saved.starts_with(r#"{"state":{"s":["#), "{saved}");
    let mut restored: Rng = serde_json::from_str(&saved).unwrap();
    assert_eq!(rng.normal(), restored.normal());
    assert_eq!(rng.next_u64(), restored.next_u64());
}

#[test]
fn a_fork_does_not_shift_its_parent() {
    let (mut used, mut unused) = (Rng::new(3), Rng::new(3));
    let mut fork = used.fork();
    unused.fork();
    for _ in 0..5 {
        fork.normal();
    }
    assert_eq!(used.next_u64(), unused.next_u64());
}

#[test]
fn normal_samples_have_the_right_moments() -> Result<()> {
    let x = Rng::new(0).normal_tensor(200_000, 3., DType::F64, &Device::Cpu)?;
    let x: Vec<f64> = x.to_vec1()?;
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let kurtosis = x.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / n / variance.powi(2);
    // Four standard errors of each estimate.
    assert!(mean.abs() < 4. * 3. / n.sqrt());
    assert!((variance / 9. - 1.).abs() < 4. * (2. / n).sqrt());
    assert!((kurtosis - 3.).abs() < 4. * (24. / n).sqrt());
    Ok(())
}

#[test]
fn integers_below_n_are_equally_likely_and_reach_both_ends() {
    let mut rng = Rng::new(1);
    let mut counts = [0f64; 6];
    for _ in 0..60_000 {
        counts[rng.below(6)] += 1.;
    }
    for count in counts {
        assert!((count - 10_000.).abs() < 4. * 10_000f64.sqrt(), "{counts:?}");
    }
    assert_eq!(rng.below(1), 0);
}

#[test]
fn a_shuffle_is_a_permutation_and_every_order_of_three_occurs() {
    let mut rng = Rng::new(2);
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let mut items = [0, 1, 2];
        rng.shuffle(&mut items);
        orders.insert(items);
        items.sort_unstable();
        assert_eq!(items, [0, 1, 2]);
    }
    assert_eq!(orders.len(), 6);
}
