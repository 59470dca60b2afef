//! Forward and backward pass of the single operations, fused against reference and candle-nn.
//!
//!     cargo bench -p benches --bench ops

use std::hint::black_box;

use benches::operation::{Implementation, Operation};
use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn ops(criterion: &mut Criterion) {
    for (name, shape) in Operation::ALL {
        let operation =
            Operation::new(name, shape).expect("a valid shape").expect("a known operation");
        let mut group = criterion.benchmark_group(format!("{name} {shape:?}"));
        group.sample_size(20);
        group.throughput(Throughput::Elements(shape.iter().product::<usize>() as u64));
        for (implementation, name) in [
            (Implementation::Fused, "fused"),
            (Implementation::Reference, "reference"),
            (Implementation::CandleNn, "candle-nn"),
        ] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| black_box(operation.forward_backward(implementation)));
            });
        }
        group.finish();
    }
}

fn main() {
    tensor_core::allocator::keep_freed_memory();
    let mut criterion = Criterion::default().configure_from_args();
    ops(&mut criterion);
    criterion.final_summary();
}
