//! Causal attention at two shapes (B, H, T, D), fused against reference, in multiplications/s.
//!
//!     cargo bench -p benches --bench attention

use std::hint::black_box;

use benches::operation::{Implementation, Operation};
use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn attention(criterion: &mut Criterion) {
    for shape in [[8, 6, 256, 64], [1, 12, 1024, 64]] {
        let [b, h, t, d] = shape;
        let operation = Operation::attention(shape).expect("a valid shape");
        let mut group = criterion.benchmark_group(format!("attention {shape:?}"));
        group.sample_size(20);
        // Multiplications of one product over the causal half. The forward pass has two such
        // products, both passes together have seven.
        let half = (b * h * t * t * d / 2) as u64;
        for (implementation, name) in
            [(Implementation::Fused, "fused"), (Implementation::Reference, "reference")]
        {
            group.throughput(Throughput::Elements(2 * half));
            group.bench_function(format!("forward, {name}"), |bencher| {
                bencher.iter(|| black_box(operation.forward(implementation)));
            });
            group.throughput(Throughput::Elements(7 * half));
            group.bench_function(format!("forward and backward, {name}"), |bencher| {
                bencher.iter(|| black_box(operation.forward_backward(implementation)));
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
