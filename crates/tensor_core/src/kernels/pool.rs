//! Thread pool that runs the tasks of one loop at a time.
//!
//! A training step is some hundred short loops, many of 50 µs. A general-purpose pool puts idle
//! threads to sleep at once, and waking one takes as long as such a loop. The threads here spin for
//! a moment before they sleep, just long enough to catch the next operation of the same step. Tasks
//! are handed out one by one, so that a thread that the system preempts delays one task and not
//! half the loop.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Time that an idle thread spins before it sleeps: longer than the gaps within a training step,
/// short enough not to waste the CPU of a busy machine.
const SPIN_TIME: Duration = Duration::from_micros(150);

/// Runs `work(0)` to `work(tasks - 1)`, in any order, on all threads; returns when all have run.
///
/// Called within a task, or while another thread's loop uses the pool, it runs all tasks on the
/// calling thread.
pub(crate) fn for_each(tasks: usize, work: impl Fn(usize) + Sync) {
    let pool = pool();
    let loop_lock = match pool.loop_lock.try_lock() {
        Ok(loop_lock) => Some(loop_lock),
        // A task panicked; the pool itself is still usable.
        Err(TryLockError::Poisoned(loop_lock)) => Some(loop_lock.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    match loop_lock {
        Some(_lock) if tasks > 1 && !pool.helpers.is_empty() => pool.run_shared(tasks, &work),
        _ => (0..tasks).for_each(work),
    }
}

/// Number of threads that work at a time, including the caller.
pub(crate) fn threads() -> usize {
    pool().helpers.len() + 1
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

struct Pool {
    helpers: Vec<Helper>,
    /// Held by the thread whose loop is running.
    loop_lock: Mutex<()>,
    /// Round (number of the loop) in the upper 32 bits, then the closed flag, then the number of
    /// helpers that entered.
    gate: AtomicU64,
    /// Number of those helpers that have left again.
    n_left: AtomicUsize,
    /// Next task to hand out.
    next_task: AtomicUsize,
    /// Number of tasks of the loop.
    n_tasks: AtomicUsize,
    /// Loop body. Written only while no helper is inside the gate.
    work: UnsafeCell<Option<*const Work<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Helper {
    thread: Thread,
    asleep: &'static AtomicBool,
}

const ROUND_SHIFT: u32 = 32; // lowest bit of the round
const CLOSED: u64 = 1 << 31;

// SAFETY: `work` is the only field that is not Sync by itself. It is written by the holder of
// `loop_lock` while the gate is closed and empty, and read by helpers that have passed the gate;
// the gate's Release and Acquire order the two.
#[allow(unsafe_code)]
unsafe impl Sync for Pool {}
// SAFETY: the pointer in `work` is only dereferenced between the opening of the gate and the exit
// of the last helper.
#[allow(unsafe_code)]
unsafe impl Send for Pool {}

fn pool() -> &'static Pool {
    static POOL: OnceLock<&Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let threads = candle_core::utils::get_num_threads();
        let ready: &'static OnceLock<&Pool> = Box::leak(Box::new(OnceLock::new()));
        let helpers = (1..threads).map_while(|i| {
            let asleep: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
            let builder = std::thread::Builder::new().name(format!("tensor_core-{i}"));
            // If the system refuses more threads, the pool works with those it has.
            let handle = builder.spawn(move || ready.wait().helper_loop(asleep)).ok()?;
            Some(Helper { thread: handle.thread().clone(), asleep })
        });
        let pool: &'static Pool = Box::leak(Box::new(Pool {
            helpers: helpers.collect(),
            loop_lock: Mutex::new(()),
            gate: AtomicU64::new(CLOSED),
            n_left: AtomicUsize::new(0),
            next_task: AtomicUsize::new(0),
            n_tasks: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
        }));
        ready.get_or_init(|| pool)
    })
}

impl Pool {
    /// Runs a loop with the helpers; the caller holds `loop_lock`.
    fn run_shared(&self, tasks: usize, work: &Work<'_>) {
        // SAFETY: extends the borrow of `work` for the helpers. This function returns only after
        // the gate is closed and every helper that entered has left, and the pointer is not
        // dereferenced outside the gate.
        #[allow(unsafe_code)]
        unsafe {
            *self.work.get() =
                Some(std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work));
        }
        self.next_task.store(0, Ordering::Relaxed);
        self.n_tasks.store(tasks, Ordering::Relaxed);
        self.n_left.store(0, Ordering::Relaxed);
        let round = (self.gate.load(Ordering::Relaxed) >> ROUND_SHIFT) + 1;
        // SeqCst, here and where a helper goes to sleep: either the helper sees the open gate or
        // this thread sees that it is asleep.
        self.gate.store(round << ROUND_SHIFT, Ordering::SeqCst);
        for helper in self.helpers.iter().take(tasks - 1) {
            if helper.asleep.load(Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
        self.run(work);
        let entered = self.gate.fetch_or(CLOSED, Ordering::AcqRel) % CLOSED;
        let start = Instant::now();
        while self.n_left.load(Ordering::Acquire) as u64 != entered {
            if start.elapsed() < SPIN_TIME {
                std::hint::spin_loop()
            } else {
                std::thread::yield_now()
            }
        }
        let mut panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic.take() {
            resume_unwind(panic);
        }
    }

    /// Runs tasks until all are taken. A panic ends the loop on all threads and is stored for the
    /// caller.
    fn run(&self, work: &Work<'_>) {
        let tasks = self.n_tasks.load(Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next_task.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                work(task);
            }
        }));
        if let Err(panic) = result {
            self.next_task.store(tasks, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    /// Main loop of a helper thread: wait for the gate to open, enter, run tasks, leave.
    fn helper_loop(&self, asleep: &AtomicBool) {
        let mut last_round = 0; // the last round that this helper worked on
        loop {
            let gate = self.wait_for_round(last_round, asleep);
            if self
                .gate
                .compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue; // closed in the meantime, or another helper entered first
            }
            last_round = gate >> ROUND_SHIFT;
            // SAFETY: the gate was open when we entered, so the pointer belongs to this round and
            // stays valid until we leave.
            #[allow(unsafe_code)]
            let work = unsafe { (*self.work.get()).map(|work| &*work) };
            self.run(work.expect("set before the gate opens"));
            self.n_left.fetch_add(1, Ordering::Release);
        }
    }

    /// Waits for an open gate of a round other than `last_round`: spins first, then sleeps.
    fn wait_for_round(&self, last_round: u64, asleep: &AtomicBool) -> u64 {
        let is_open = |gate: u64| gate & CLOSED == 0 && gate >> ROUND_SHIFT != last_round;
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                let gate = self.gate.load(Ordering::Acquire);
                if is_open(gate) {
                    return gate;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN_TIME {
                asleep.store(true, Ordering::SeqCst);
                if !is_open(self.gate.load(Ordering::SeqCst)) {
                    std::thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
            }
        }
    }
}
