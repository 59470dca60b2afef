//! Vectorization: loops in plain Rust, compiled for each generation of vector units, of which one
//! is selected at run time.

/// `vectorized!(body)` is `body`, with its loops compiled for the widest vectors of this CPU.
///
/// A macro, because the compiler reliably inlines a closure into the code for wider vectors only if
/// it is called once: each kind of CPU gets a closure of its own. With a function instead, the
/// longer loops silently fell back to the narrowest vectors.
macro_rules! vectorized {
    ($body:expr) => {
        match pulp::Arch::new() {
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V4(simd) => simd.vectorize($crate::kernels::Loops(|| $body)),
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V3(simd) => simd.vectorize($crate::kernels::Loops(|| $body)),
            _ => $body,
        }
    };
}
pub(crate) use vectorized;

/// Body of [`vectorized!`].
pub(crate) struct Loops<F>(pub(crate) F);

impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Loops<F> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        self.0()
    }
}
