//! Causal attention at the two shapes that the project measures itself by: `cargo bench -p benches --bench attention`.

use std::hint::black_box;

use benches::operation::{Operation, Twin};
use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn attention(criterion: &mut Criterion) {
    for shape in [[8, 6, 256, 64], [1, 12, 1024, 64]] {
        let [b, h, t, d] = shape;
        let operation = Operation::attention(shape).expect("a shape that fits");
        let mut group = criterion.benchmark_group(format!("attention {shape:?}"));
        group.sample_size(20);
        // Two products over the causal half forward, seven with the backward pass: the unit is multiplications.
        let half = (b * h * t * t * d / 2) as u64;
        for (twin, name) in [(Twin::Fused, "fused"), (Twin::Reference, "reference")] {
            group.throughput(Throughput::Elements(2 * half));
            group.bench_function(format!("forward, {name}"), |bencher| {
                bencher.iter(|| black_box(operation.forward(twin)));
            });
            group.throughput(Throughput::Elements(7 * half));
            group.bench_function(format!("forward and backward, {name}"), |bencher| {
                bencher.iter(|| black_box(operation.forward_backward(twin)));
            });
        }
        group.finish();
    }
}

fn main() {
    tensor_core::allocator::keep_freed_memory();
    let mut criterion = Criterion::default().configure_from_args();
    attention(&mut criterion);
    criterion.final_summary();
}
