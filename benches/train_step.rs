//! Whole training steps; the unit is tokens: `cargo bench -p benches --bench train_step`.

use benches::train_step::{Model, Training};
use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn train_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train step");
    group.sample_size(10);
    for (name, model) in Model::all() {
        let mut training = Training::new(model).expect("sizes that fit");
        let (b, t) = model.batch_shape();
        group.throughput(Throughput::Elements((b * t) as u64));
        group.bench_function(name, |bencher| bencher.iter(|| training.step().expect("a step")));
    }
    group.finish();
}

fn main() {
    tensor_core::allocator::keep_freed_memory();
    let mut criterion = Criterion::default().configure_from_args();
    train_step(&mut criterion);
    criterion.final_summary();
}
