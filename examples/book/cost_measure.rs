//! How cost grows: time and peak memory of steps of which one size is varied.
//!
//! ```sh
//! cargo run --example book -- cost --threads 2 --out examples/book/cost_curves.json   # minutes
//! cargo run --example book -- cost --quick                                            # seconds
//! ```

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use experiment::machine::processor_name;
use experiment::picture::create_parent_folder;
use tensor_core::allocator::{MiMalloc, keep_freed_memory};
use tensor_core::testing::CountingAllocator;
use tensor_core::threads::set_num_threads;

use crate::cost_curves::{CostCurves, CostPoint, Exponents, Quantity};
use crate::cost_step::Step;
use crate::step_cost::Axis;

/// Allocator of the program, which counts the bytes.
pub(crate) type Allocator = CountingAllocator<MiMalloc>;

/// Flags of the program.
#[derive(clap::Args)]
pub(crate) struct CostArgs {
    /// JSON file for the measurements; without it they are only printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Name of the machine in that file [default: the processor's]
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Finish in seconds: one step of the three smallest sizes
    #[arg(long)]
    quick: bool,
}

/// Number of timed steps of a shape.
struct Repeats {
    min_steps: usize,
    max_steps: usize,
    /// No further step begins after this long, once there are `min_steps`.
    time: Duration,
}

const FULL: Repeats = Repeats { min_steps: 3, max_steps: 15, time: Duration::from_secs(5) };
const QUICK: Repeats = Repeats { min_steps: 1, max_steps: 1, time: Duration::ZERO };
/// Sizes on each axis with `--quick`, as many as an interval needs.
const QUICK_SIZES: usize = 3;

/// Measures all shapes, prints them and the exponents, and writes the file.
///
/// # Errors
/// When memory is short, or the file cannot be written.
pub(crate) fn run(args: &CostArgs, allocator: &Allocator) -> Result<()> {
    keep_freed_memory();
    let threads = set_num_threads(args.threads)?;
    if let Some(path) = &args.out {
        create_parent_folder(path)?;
    }
    let (repeats, n_sizes) = if args.quick { (QUICK, QUICK_SIZES) } else { (FULL, usize::MAX) };
    let sizes = |axis: Axis| axis.sizes().iter().take(n_sizes).map(move |&size| (axis, size));
    let shapes: Vec<(Axis, usize)> = Axis::ALL.into_iter().flat_map(sizes).collect();
    // The thread pool and its buffers are allocated by the first step of all.
    measure(Axis::Layers, 1, &QUICK, allocator)?;
    let mut points = Vec::new();
    println!("             varied    size   GFLOP      ms   GFLOP/s   MB counted   MB at the peak");
    for (done, &(axis, size)) in (1..).zip(&shapes) {
        let point = measure(axis, size, &repeats, allocator)?;
        let CostPoint { flops, bytes, seconds, peak_bytes, .. } = point;
        println!(
            "{done:3}/{} {axis:>12} {size:7} {:7.2} {:7.1} {:9.1} {:12.1} {:16.1}",
            shapes.len(),
            flops / 1e9,
            seconds * 1e3,
            flops / seconds / 1e9,
            bytes / 1e6,
            peak_bytes / 1e6
        );
        points.push(point);
    }
    let machine = args.machine.clone().unwrap_or_else(processor_name);
    let curves = CostCurves { machine, threads, points };
    print_exponents(&curves);
    if let Some(path) = &args.out {
        let json = serde_json::to_string_pretty(&curves)? + "\n";
        std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Median time and peak memory of a step, after one that is not counted.
fn measure(axis: Axis, size: usize, repeats: &Repeats, allocator: &Allocator) -> Result<CostPoint> {
    let before = allocator.bytes_in_use();
    let mut step = Step::new(axis, size)?;
    step.run()?;
    allocator.reset_peak();
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < repeats.min_steps
        || times.len() < repeats.max_steps && begin.elapsed() < repeats.time
    {
        let start = Instant::now();
        step.run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    let peak_bytes = allocator.peak().saturating_sub(before) as f64;
    times.sort_by(f64::total_cmp);
    let (shape, seconds) = (axis.shape(size), times[times.len() / 2]);
    Ok(CostPoint { axis, size, flops: shape.flops(), bytes: shape.bytes(), seconds, peak_bytes })
}

fn print_exponents(curves: &CostCurves) {
    println!("\nexponents, with 95 % intervals");
    for (name, quantity) in [("time", Quantity::Time), ("memory", Quantity::Memory)] {
        for axis in Axis::ALL {
            let Some(exponents) = curves.exponents(axis, quantity) else { continue };
            let Exponents { measured, counted, difference } = exponents;
            let counted = counted.value;
            println!(
                "{name:>6} over {axis:<11} {measured}, counted {counted:.2}, of the ratio \
                 {difference}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_weights_and_moments() -> Result<()> {
        let point = measure(Axis::Layers, 2, &QUICK, &crate::ALLOCATOR)?;
        assert!(point.seconds > 0., "{point:?}");
        // Other tests run in this process, so the bytes are those of this thread.
        let step = || -> Result<()> { Step::new(Axis::Layers, 2)?.run() };
        let (result, peak) = crate::ALLOCATOR.thread_peak_during(step);
        result?;
        let n_weights = Axis::Layers.shape(2).config().parameter_count();
        assert!(peak as f64 > 12. * n_weights, "{peak} bytes for {n_weights} weights");
        Ok(())
    }

    #[test]
    fn an_update_of_a_group_can_be_measured() -> Result<()> {
        let point = measure(Axis::Group, 2, &QUICK, &crate::ALLOCATOR)?;
        assert!(point.seconds > 0. && point.flops > 0., "{point:?}");
        Ok(())
    }
}
