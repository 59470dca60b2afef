//! Operations on vectors of 32 bytes that AVX2 and AVX-512 VNNI support.

use std::arch::x86_64::{__m128i, __m256, __m256i};

pulp::simd_type! {
    /// Proof that this CPU has AVX2.
    pub(crate) struct Avx2 { avx: "avx", avx2: "avx2", fma: "fma", f16c: "f16c" }

    /// Proof that this CPU has AVX-512 VNNI.
    pub(crate) struct Vnni {
        avx: "avx", avx2: "avx2", fma: "fma", f16c: "f16c",
        f: "avx512f", vl: "avx512vl", vnni: "avx512vnni",
    }
}

/// Operations that both instruction sets support.
pub(crate) trait Vectors: Copy {
    /// AVX2, whose instructions both support.
    fn as_avx2(self) -> Avx2;

    /// Σ q p over each four adjacent bytes, 0 ≤ q ≤ 128 and −127 ≤ p ≤ 127.
    fn dot(self, q: __m256i, p: __m256i) -> __m256i;

    #[inline(always)]
    fn avx(self) -> pulp::core_arch::x86::Avx {
        self.as_avx2().avx
    }

    #[inline(always)]
    fn avx2(self) -> pulp::core_arch::x86::Avx2 {
        self.as_avx2().avx2
    }

    #[inline(always)]
    fn fma(self) -> pulp::core_arch::x86::Fma {
        self.as_avx2().fma
    }

    /// Converts eight 16-bit floats.
    #[inline(always)]
    fn f16_to_f32(self, x: __m128i) -> __m256 {
        // SAFETY: `self` proves that this CPU has the instruction.
        #[allow(unsafe_code)]
        unsafe {
            std::arch::x86_64::_mm256_cvtph_ps(x)
        }
    }
}

impl Vectors for Avx2 {
    #[inline(always)]
    fn as_avx2(self) -> Self {
        self
    }

    #[inline(always)]
    fn dot(self, q: __m256i, p: __m256i) -> __m256i {
        let pairs = self.avx2._mm256_maddubs_epi16(q, p); // 2 · 128 · 127 < 2¹⁵: exact
        self.avx2._mm256_madd_epi16(pairs, self.avx._mm256_set1_epi16(1))
    }
}

impl Vectors for Vnni {
    #[inline(always)]
    fn as_avx2(self) -> Avx2 {
        Avx2 { avx: self.avx, avx2: self.avx2, fma: self.fma, f16c: self.f16c }
    }

    #[inline(always)]
    fn dot(self, q: __m256i, p: __m256i) -> __m256i {
        let zero = self.avx._mm256_setzero_si256();
        // SAFETY: `self` proves that this CPU has the instruction.
        #[allow(unsafe_code)]
        unsafe {
            std::arch::x86_64::_mm256_dpbusd_epi32(zero, q, p)
        }
    }
}
