//! 6.3: order of the training examples.

use std::collections::BTreeSet;

use experiment::LengthGrouping::{self, FixedBuckets, Megabatches};
use tensor_core::Rng;

use crate::{BatchSampler, Curriculum};

const LENGTHS: [usize; 7] = [5, 2, 9, 2, 7, 1, 4];

fn epoch_order(curriculum: Curriculum, epoch: usize, seed: u64) -> Vec<usize> {
    curriculum.batches(&LENGTHS, 2, epoch, seed, Megabatches).concat()
}

#[test]
fn every_epoch_contains_each_example_once() {
    for curriculum in [Curriculum::ByLength, Curriculum::Shuffled, Curriculum::ByLengthThenShuffled]
    {
        for epoch in 0..3 {
            let mut order = epoch_order(curriculum, epoch, 1);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6], "{curriculum:?}");
            let sizes = curriculum.batches(&LENGTHS, 2, epoch, 1, Megabatches);
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
    let order = |epoch, seed| Curriculum::Shuffled.batches(&lengths, 4, epoch, seed, Megabatches);
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
    let lengths: Vec<usize> = (0..6400).map(|i| if i % 2 == 0 { 2 } else { 17 }).collect();
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for batch in Curriculum::Shuffled.batches(&lengths, 16, 0, 1, Megabatches) {
        let n_tokens: usize = batch.iter().map(|&i| lengths[i]).sum();
        for i in batch {
            let weights = if lengths[i] == 2 { &mut short } else { &mut long };
            weights.push(1. / n_tokens as f64);
        }
    }
    let mean = |weights: &[f64]| weights.iter().sum::<f64>() / weights.len() as f64;
    assert!(mean(&short) > 7. * mean(&long), "{} {}", mean(&short), mean(&long));
}

fn shuffled(n: usize, size: usize, epoch: usize, grouping: LengthGrouping) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = (0..n).map(|i| i * 37 % n).collect(); // all of them differ
    Curriculum::Shuffled.batches(&lengths, size, epoch, 1, grouping)
}

#[test]
fn batches_of_small_data_differ_between_epochs_and_the_longest_examples_are_not_left_over() {
    let length = |i: &usize| i * 37 % 70;
    let left_over = |epoch, grouping| {
        let batches = shuffled(70, 64, epoch, grouping);
        let sizes: BTreeSet<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!((batches.len(), sizes), (2, BTreeSet::from([6, 64])));
        let batch = batches.into_iter().find(|batch| batch.len() == 6).expect("of 6");
        batch.iter().map(length).collect::<BTreeSet<_>>()
    };
    let longest: BTreeSet<usize> = (64..70).collect();
    let epochs: BTreeSet<_> = (0..10).map(|epoch| left_over(epoch, Megabatches)).collect();
    assert_eq!(epochs.len(), 10, "others in every epoch");
    assert!(!epochs.contains(&longest));
    assert!((0..10).all(|epoch| left_over(epoch, FixedBuckets) == longest), "as before");
}

#[test]
fn the_incomplete_batch_of_a_bucket_has_any_length() {
    // Buckets of 4 batches; the last one has 3 batches of 4 examples, and 2 more.
    let places: BTreeSet<usize> = (0..40)
        .map(|epoch| {
            let batches = shuffled(4 * 4 * 4 + 14, 4, epoch, Megabatches);
            assert_eq!(batches.len(), 20);
            let lengths = |batch: &Vec<usize>| batch.iter().map(|i| i * 37 % 78).max();
            let incomplete = batches.iter().find(|batch| batch.len() == 2).expect("of 2");
            lengths(incomplete).expect("an example") / 26
        })
        .collect();
    assert_eq!(places, BTreeSet::from([0, 1, 2]), "short, middling and long ones");
}

#[test]
fn the_order_of_large_data_is_that_of_buckets_of_32_batches_as_ever() {
    for n in [512, 513, 700] {
        // The order of the first versions, written out.
        let mut order: Vec<usize> = (0..n).collect();
        let mut rng = Rng::of_index(1, 2);
        rng.shuffle(&mut order);
        order.chunks_mut(32 * 4).for_each(|bucket| bucket.sort_by_key(|i| i * 37 % n));
        let mut batches: Vec<Vec<usize>> = order.chunks(4).map(<[usize]>::to_vec).collect();
        rng.shuffle(&mut batches);
        assert_eq!(shuffled(n, 4, 2, Megabatches), batches, "{n} examples");
        assert_eq!(shuffled(n, 4, 2, FixedBuckets), batches, "{n} examples");
    }
    assert_ne!(shuffled(511, 4, 2, Megabatches), shuffled(511, 4, 2, FixedBuckets));
}

#[test]
fn a_sampler_has_the_batches_of_its_grouping() {
    let lengths: Vec<usize> = (0..70).map(|i| i * 37 % 70).collect();
    for grouping in [FixedBuckets, Megabatches] {
        let mut sampler = BatchSampler::new(lengths.clone(), Curriculum::Shuffled, 8, 1);
        sampler.set_grouping(grouping);
        for epoch in 0..3 {
            let expected = shuffled(70, 8, epoch, grouping);
            let sampled: Vec<Vec<usize>> =
                (9 * epoch..9 * (epoch + 1)).map(|i| sampler.batch_indices(i).to_vec()).collect();
            assert_eq!(sampled, expected, "epoch {epoch}");
        }
    }
}
