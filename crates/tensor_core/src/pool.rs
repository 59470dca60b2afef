//! Threads that share the tasks of one loop at a time.
//!
//! A training step is some hundred short loops, many of 50 µs. A general pool puts its idle threads to sleep at once, and
//! waking one costs as much as such a loop. The threads here wait awake for a moment before they sleep, just long
//! enough to meet the next operation of the same step. Tasks are handed out one by one, so that a thread that the
//! system takes away holds up one task and not half the loop.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long an idle thread waits awake: longer than the gaps within a training step, short enough to be a good
/// neighbour on a busy machine.
const AWAKE: Duration = Duration::from_micros(150);

/// Runs `work(0)` to `work(tasks - 1)`, in any order, on all threads; returns when all have run.
///
/// Within a task, and while another thread's loop has the pool, it runs everything on the calling thread.
pub(crate) fn for_each(tasks: usize, work: impl Fn(usize) + Sync) {
    let pool = pool();
    let turn = match pool.turn.try_lock() {
        Ok(turn) => Some(turn),
        Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()), // a task panicked; the pool is as good as ever
        Err(TryLockError::WouldBlock) => None,
    };
    match turn {
        Some(_turn) if tasks > 1 && !pool.helpers.is_empty() => pool.share(tasks, &work),
        _ => (0..tasks).for_each(work),
    }
}

/// How many threads work at a time, the caller among them.
pub(crate) fn threads() -> usize {
    pool().helpers.len() + 1
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

struct Pool {
    helpers: Vec<Helper>,
    /// Held by the thread whose loop is running.
    turn: Mutex<()>,
    /// The loop's number in the upper half, then whether it is closed, then how many helpers entered it.
    gate: AtomicU64,
    /// How many of those have left.
    left: AtomicUsize,
    /// The next task to hand out, and how many there are.
    next: AtomicUsize,
    tasks: AtomicUsize,
    /// Written only while no helper is inside.
    work: UnsafeCell<Option<*const Work<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Helper {
    thread: Thread,
    asleep: &'static AtomicBool,
}

const ROUND: u32 = 32; // the bit where a loop's number begins
const CLOSED: u64 = 1 << 31;

// SAFETY: `work` is the one field that is not Sync by itself. It is written by the holder of `turn` while the gate is
// closed and empty, and read by helpers that have passed the gate; the gate's Release and Acquire order the two.
#[allow(unsafe_code)]
unsafe impl Sync for Pool {}
// SAFETY: the pointer in `work` is only followed between opening the gate and the last helper's leaving.
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
            // A system that grants no more threads gets by with those that it granted.
            let handle = builder.spawn(move || ready.wait().help(asleep)).ok()?;
            Some(Helper { thread: handle.thread().clone(), asleep })
        });
        let pool: &'static Pool = Box::leak(Box::new(Pool {
            helpers: helpers.collect(),
            turn: Mutex::new(()),
            gate: AtomicU64::new(CLOSED),
            left: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
        }));
        ready.get_or_init(|| pool)
    })
}

impl Pool {
    /// Runs a loop with the helpers; the caller holds `turn`.
    fn share(&self, tasks: usize, work: &Work<'_>) {
        // SAFETY: extends the borrow of `work` for the helpers. This function returns only after the gate is closed
        // and everyone who entered has left, and nobody follows the pointer outside the gate.
        #[allow(unsafe_code)]
        unsafe {
            *self.work.get() =
                Some(std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work));
        }
        self.next.store(0, Ordering::Relaxed);
        self.tasks.store(tasks, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
        let round = (self.gate.load(Ordering::Relaxed) >> ROUND) + 1;
        // SeqCst, here and where a helper falls asleep: either it sees the open gate or we see it asleep.
        self.gate.store(round << ROUND, Ordering::SeqCst);
        for helper in self.helpers.iter().take(tasks - 1) {
            if helper.asleep.load(Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
        self.run(work);
        let entered = self.gate.fetch_or(CLOSED, Ordering::AcqRel) % CLOSED;
        let waiting = Instant::now();
        while self.left.load(Ordering::Acquire) as u64 != entered {
            if waiting.elapsed() < AWAKE {
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

    /// Takes tasks until there are none left. A panic ends the loop for everyone and is kept for the caller.
    fn run(&self, work: &Work<'_>) {
        let tasks = self.tasks.load(Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                work(task);
            }
        }));
        if let Err(panic) = result {
            self.next.store(tasks, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    /// The life of a helper: wait for the gate to open, enter, take tasks, leave.
    fn help(&self, asleep: &AtomicBool) {
        let mut done = 0; // the last round that it took part in
        loop {
            let gate = self.wait(done, asleep);
            if self
                .gate
                .compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue; // closed in the meantime, or another helper entered first
            }
            done = gate >> ROUND;
            // SAFETY: the gate was open when we entered, so the pointer is this round's and stays valid till we leave.
            #[allow(unsafe_code)]
            let work = unsafe { (*self.work.get()).map(|work| &*work) };
            self.run(work.expect("set before the gate opens"));
            self.left.fetch_add(1, Ordering::Release);
        }
    }

    /// Waits for an open gate of a round other than `done`, awake at first, then asleep.
    fn wait(&self, done: u64, asleep: &AtomicBool) -> u64 {
        let open = |gate: u64| gate & CLOSED == 0 && gate >> ROUND != done;
        let waiting = Instant::now();
        loop {
            for _ in 0..64 {
                let gate = self.gate.load(Ordering::Acquire);
                if open(gate) {
                    return gate;
                }
                std::hint::spin_loop();
            }
            if waiting.elapsed() > AWAKE {
                asleep.store(true, Ordering::SeqCst);
                if !open(self.gate.load(Ordering::SeqCst)) {
                    std::thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
            }
        }
    }
}
