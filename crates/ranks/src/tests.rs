//! Ranks as threads: sums, broadcasts and shares.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

use crate::in_threads;
use crate::process::{ensure_joined, threads_flag};

mod average;
#[cfg(feature = "mpi")]
mod mpi_rank;
#[cfg(feature = "nccl")]
mod nccl;

#[test]
fn shares_cover_the_rows_once_and_differ_by_one_at_most() {
    for (n_rows, n_ranks) in [(16, 1), (16, 4), (7, 3), (2, 4), (0, 2)] {
        let shares = in_threads(n_ranks, |ranks| Ok(ranks.rows(n_rows)));
        let shares: Vec<_> = shares.into_iter().map(Result::unwrap).collect();
        let rows: Vec<usize> = shares.iter().cloned().flatten().collect();
        assert_eq!(rows, (0..n_rows).collect::<Vec<_>>());
        let lengths: Vec<usize> = shares.iter().map(ExactSizeIterator::len).collect();
        let spread = lengths.iter().max().unwrap() - lengths.iter().min().unwrap();
        assert!(spread <= 1, "{n_rows} rows on {n_ranks} ranks: {lengths:?}");
    }
}

#[test]
fn a_sum_is_added_in_the_order_of_the_ranks_and_the_same_everywhere() {
    // In another order, 1 would be lost beside 1e8.
    let values = [1e8f32, -1e8, 1.];
    for _ in 0..20 {
        let sums = in_threads(3, |ranks| {
            let mut sum = [values[ranks.rank()], 1.];
            ranks.all_reduce_sum(&mut sum)?;
            Ok(sum)
        });
        for sum in sums {
            assert_eq!(sum.unwrap(), [1., 3.]);
        }
    }
}

#[test]
fn all_ranks_get_what_the_first_has() {
    let results = in_threads(3, |ranks| {
        let rank = ranks.rank();
        let mut bytes = vec![rank as u8; rank + 1];
        ranks.broadcast(&mut bytes)?;
        let value = ranks.on_first(|| Ok((rank, "text".to_string(), 0.1)))?;
        Ok((bytes, value, ranks.any(rank == 2)?, ranks.any(false)?))
    });
    for result in results {
        assert_eq!(result.unwrap(), (vec![0], (0, "text".to_string(), 0.1), true, false));
    }
}

#[test]
fn what_each_rank_has_is_gathered_in_their_order_also_what_json_lacks() {
    let results = in_threads(3, |ranks| {
        let rank = ranks.rank();
        let numbers = ranks.gather(&vec![f64::NAN; rank])?;
        let bits: Vec<u32> =
            ranks.gather(&(0.1 * rank as f32))?.iter().map(|x| x.to_bits()).collect();
        // Two rows on the first rank, none on the second, one on the third.
        let rows = [2, 0, 1][rank];
        let own: Vec<Tensor> = (0..rows)
            .map(|row| Tensor::full((10 * rank + row) as f32, (1, 2), &Device::Cpu))
            .collect::<candle_core::Result<_>>()?;
        Ok((numbers, bits, ranks.concat(&own, &Device::Cpu)?.to_vec2::<f32>()?))
    });
    for result in results {
        let (numbers, bits, rows) = result.unwrap();
        assert_eq!(numbers.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(numbers.concat().iter().all(|x| x.is_nan()));
        assert_eq!(bits, [0f32, 0.1, 0.2].map(f32::to_bits));
        assert_eq!(rows, [[0., 0.], [1., 1.], [20., 20.]]);
    }
}

#[test]
fn a_rank_with_something_else_is_named() {
    let results = in_threads(3, |ranks| {
        ranks
            .ensure_same(&"a".to_string(), "model")
            .map_err(|_| anyhow::anyhow!("all have the same"))?;
        ranks.ensure_same(&(ranks.rank() == 2), "model")
    });
    for result in results {
        assert_eq!(result.unwrap_err().to_string(), "rank 2 has another model than the first");
    }
}

#[test]
fn a_rank_that_ends_early_ends_the_others() {
    let results = in_threads(3, |ranks| {
        if ranks.rank() == 1 {
            bail!("out of memory");
        }
        ranks.any(true)?;
        ranks.any(true)
    });
    let errors: Vec<String> = results.into_iter().map(|r| r.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["rank 1 has ended", "out of memory", "rank 1 has ended"]);
}

#[test]
fn the_number_of_threads_is_read_before_the_other_flags() {
    let threads = |line: &str| threads_flag(line.split(' ').map(String::from)).map(usize::from);
    assert_eq!(threads("part_4 train --threads 2 --out runs/x"), Some(2));
    assert_eq!(threads("part_4 train --threads 2 --threads=3"), Some(3));
    assert_eq!(threads("part_4 train --threads"), None);
}

#[test]
fn ranks_that_mpi_does_not_join_are_refused_before_all_would_be_the_first() {
    assert!(ensure_joined(2, 2).is_ok());
    // Launchers differ in what they count: the ranks of all hosts, or of this one.
    assert!(ensure_joined(2, 4).is_ok());
    let error = ensure_joined(2, 1).unwrap_err().to_string();
    assert!(error.starts_with("2 ranks were started, and MPI has joined"), "{error}");
}
