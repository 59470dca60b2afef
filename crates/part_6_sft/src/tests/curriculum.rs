//! 6.3: order of the training examples.

use crate::Curriculum;

const LENGTHS: [usize; 7] = [5, 2, 9, 2, 7, 1, 4];

fn epoch_order(curriculum: Curriculum, epoch: usize, seed: u64) -> Vec<usize> {
    curriculum.batches(&LENGTHS, 2, epoch, seed).concat()
}

#[test]
fn every_epoch_contains_each_example_once() {
    for curriculum in [Curriculum::ByLength, Curriculum::Shuffled, Curriculum::ByLengthThenShuffled]
    {
        for epoch in 0..3 {
            let mut order = epoch_order(curriculum, epoch, 1);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6], "{curriculum:?}");
            let sizes = curriculum.batches(&LENGTHS, 2, epoch, 1);
            assert!(sizes.iter().filter(|batch| batch.len() != 2).count() == 1, "7 = 3 · 2 + 1");
        }
    }
}

#[test]
fn by_length_sorts_every_epoch_or_only_the_first() {
    let shortest_first = [5, 1, 3, 6, 0, 4, 2];
    for epoch in 0..3 {
        assert_eq!(epoch_order(Curriculum::ByLength, epoch, 1), shortest_first);
    }
    assert_eq!(epoch_order(Curriculum::ByLengthThenShuffled, 0, 1), shortest_first);
    for epoch in 1..4 {
        assert_eq!(
            epoch_order(Curriculum::ByLengthThenShuffled, epoch, 1),
            epoch_order(Curriculum::Shuffled, epoch, 1)
        );
    }
}

#[test]
fn the_shuffle_depends_on_seed_and_epoch() {
    let lengths: Vec<usize> = (0..500).map(|i| i * 7 % 23).collect();
    let order = |epoch, seed| Curriculum::Shuffled.batches(&lengths, 4, epoch, seed);
    assert_eq!(order(3, 1), order(3, 1));
    assert_ne!(order(3, 1), order(4, 1));
    assert_ne!(order(3, 1), order(3, 2));
    // Examples of a batch have similar lengths, but batches are not sorted by length.
    let spread = |batch: &[usize]| {
        let all = batch.iter().map(|&i| lengths[i]);
        all.clone().max().unwrap_or(0) - all.min().unwrap_or(0)
    };
    let batches = order(0, 1);
    assert!(batches.iter().map(|batch| spread(batch)).sum::<usize>() < 3 * batches.len());
    let first: Vec<usize> = batches.iter().map(|batch| lengths[batch[0]]).collect();
    assert!(!first.is_sorted());
}

#[test]
fn a_token_of_a_short_example_weighs_more_in_a_mean_over_its_batch() {
    let lengths: Vec<usize> = (0..640).map(|i| if i % 2 == 0 { 2 } else { 17 }).collect();
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for batch in Curriculum::Shuffled.batches(&lengths, 16, 0, 1) {
        let n_tokens: usize = batch.iter().map(|&i| lengths[i]).sum();
        for i in batch {
            let weights = if lengths[i] == 2 { &mut short } else { &mut long };
            weights.push(1. / n_tokens as f64);
        }
    }
    let mean = |weights: &[f64]| weights.iter().sum::<f64>() / weights.len() as f64;
    assert!(mean(&short) > 8. * mean(&long), "{} {}", mean(&short), mean(&long));
}
