//! Memory allocator of the training programs.
//!
//! A training step frees and allocates some hundred megabytes. Most allocators return such blocks
//! to the system, which zeroes each page before it hands it out again: a tenth of the time of a
//! step. mimalloc can keep freed memory. A program makes it its global allocator and calls
//! [`keep_freed_memory`] first thing in `main`:
//!
//! ```
//! use tensor_core::allocator::{MiMalloc, keep_freed_memory};
//!
//! #[global_allocator]
//! static ALLOCATOR: MiMalloc = MiMalloc;
//!
//! fn main() {
//!     keep_freed_memory();
//! }
//! ```

pub use mimalloc::MiMalloc;

/// Makes mimalloc keep freed memory for the next step. Has no effect on programs with another
/// allocator, or where the environment sets `MIMALLOC_PURGE_DELAY`.
pub fn keep_freed_memory() {
    // mi_option_purge_delay, for which the crate has no constant.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: i64 = -1;
    // SAFETY: sets an option that mimalloc reads the next time it needs it; this may be called at
    // any time.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, NEVER as _);
    }
}
