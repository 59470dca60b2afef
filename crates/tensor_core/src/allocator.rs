//! The memory allocator of programs that train.
//!
//! A training step frees some hundred megabytes and asks for as many again. Most allocators give such blocks back to the
//! system, which clears each page before it hands it out again: a tenth of the time of a step. mimalloc can be told to
//! keep what is freed. A program makes it its allocator and calls [`keep_freed_memory`] first thing in `main`:
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

/// Has mimalloc keep freed memory for the next step. Nothing changes for programs with another allocator, nor where the
/// environment sets `MIMALLOC_PURGE_DELAY`.
pub fn keep_freed_memory() {
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15; // mi_option_purge_delay, which the crate does not name
    const NEVER: i64 = -1;
    // SAFETY: sets a number that mimalloc reads at its next occasion; it may be called at any time.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, NEVER as _);
    }
}
