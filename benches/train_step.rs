//! Whole training steps, in tokens/s.
//!
//!     cargo bench -p benches --bench train_step

use benches::train_step::{TrainStep, Training};
use candle_core::{DType, Device};
use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

fn train_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train step");
    group.sample_size(10);
    for (name, step) in TrainStep::all() {
        let mut training = Training::new(step, DType::F32, &Device::Cpu).expect("valid sizes");
        group.throughput(Throughput::Elements((step.batch_size * step.block_size) as u64));
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
