//! Products with matrices in blocks beside f32 ones, as decoding (1 row, or a few) and reading a prompt (512 rows) have them; the
//! unit is bytes of weights: `cargo bench -p benches --bench quantized`.

use std::hint::black_box;

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::{Rng, ops};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Weights larger than any cache are what decoding reads: each call takes the next of as many matrices as make so much.
const BEYOND_CACHES: usize = 96 << 20;

/// (rows, columns) of the matrices of a model of 135M parameters, and its formats.
const SHAPES: [(usize, usize); 5] =
    [(192, 576), (576, 576), (1536, 576), (576, 1536), (49152, 576)];

fn random(seed: u64, shape: (usize, usize)) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1., DType::F32, &Device::Cpu).expect("a tensor")
}

fn products(criterion: &mut Criterion) {
    for n in [1, 8, 512] {
        for (rows, columns) in SHAPES {
            if n > 1 && rows == 49152 {
                continue; // a prompt needs the logits of its last token alone
            }
            let mut group = criterion.benchmark_group(format!("{n} x {rows} x {columns}"));
            group.sample_size(20);
            let (x, weight) = (random(1, (n, columns)), random(2, (rows, columns)));
            for format in Quantization::ALL.into_iter().filter(|f| columns % f.block_size() == 0) {
                let matrix = QuantizedMatrix::quantize(format, &weight).expect("whole blocks");
                let order: Vec<usize> = (0..rows).collect();
                let copy = || matrix.permute_rows(&order).expect("rows that there are");
                let product = |w: &QuantizedMatrix| w.matmul(&x).expect("shapes that fit");
                time(&mut group, format.name(), matrix.size_in_bytes(), copy, product);
            }
            let copy = || weight.copy().expect("a copy");
            let product = |w: &Tensor| ops::linear(&x, w, None).expect("shapes that fit");
            time(&mut group, "f32", 4 * rows * columns, copy, product);
            group.finish();
        }
    }
}

/// Times `product` on one copy of the matrix after the other.
fn time<M>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bytes: usize,
    copy: impl Fn() -> M,
    product: impl Fn(&M) -> Tensor,
) {
    let matrices: Vec<M> = (0..BEYOND_CACHES.div_ceil(bytes)).map(|_| copy()).collect();
    let mut next = matrices.iter().cycle();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| black_box(product(next.next().expect("a cycle"))));
    });
}

fn main() {
    tensor_core::allocator::keep_freed_memory();
    let mut criterion = Criterion::default().configure_from_args();
    products(&mut criterion);
    criterion.final_summary();
}
