//! Matrix products with quantized weights, compared with f32, for decoding (1 or 8 rows) and
//! prefill (512 rows), in bytes of weights/s.
//!
//!     cargo bench -p benches --bench quantized

use std::hint::black_box;

use candle_core::{DType, Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::{Rng, ops};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Total size of the copies of a matrix, in bytes. Decoding reads weights that are larger than any
/// CPU cache, so each call uses the next copy.
const WORKING_SET_BYTES: usize = 96 << 20;

/// Shapes (rows, columns) of the weight matrices of a model with 135M parameters.
const SHAPES: [(usize, usize); 5] =
    [(192, 576), (576, 576), (1536, 576), (576, 1536), (49152, 576)];

fn random(seed: u64, shape: (usize, usize)) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1., DType::F32, &Device::Cpu).expect("a tensor")
}

fn products(criterion: &mut Criterion) {
    for n in [1, 8, 512] {
        for (rows, columns) in SHAPES {
            if n > 1 && rows == 49152 {
                continue; // prefill computes the logits of the last token only
            }
            let mut group = criterion.benchmark_group(format!("{n} x {rows} x {columns}"));
            group.sample_size(20);
            let (x, weight) = (random(1, (n, columns)), random(2, (rows, columns)));
            for format in Quantization::ALL.into_iter().filter(|f| columns % f.block_size() == 0) {
                let matrix = QuantizedMatrix::quantize(format, &weight).expect("whole blocks");
                let order: Vec<usize> = (0..rows).collect();
                let copy = || matrix.permute_rows(&order).expect("valid row indices");
                let product = |w: &QuantizedMatrix| w.matmul(&x).expect("valid shapes");
                bench_product(&mut group, format.name(), matrix.size_in_bytes(), copy, product);
            }
            let copy = || weight.copy().expect("a copy");
            let product = |w: &Tensor| ops::linear(&x, w, None).expect("valid shapes");
            bench_product(&mut group, "f32", 4 * rows * columns, copy, product);
            group.finish();
        }
    }
}

/// Times `product` on the copies of a matrix in turn.
fn bench_product<M>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bytes: usize,
    copy: impl Fn() -> M,
    product: impl Fn(&M) -> Tensor,
) {
    let matrices: Vec<M> = (0..WORKING_SET_BYTES.div_ceil(bytes)).map(|_| copy()).collect();
    let mut copies = matrices.iter().cycle();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| black_box(product(copies.next().expect("a cycle never ends"))));
    });
}

fn main() {
    tensor_core::allocator::keep_freed_memory();
    let mut criterion = Criterion::default().configure_from_args();
    products(&mut criterion);
    criterion.final_summary();
}
