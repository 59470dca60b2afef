//! How a model's fresh weights are drawn: wider, the narrower it is.

use tensor_core::Init;

use crate::ModelConfig;

impl ModelConfig {
    /// GPT-2's [`ModelConfig::init_std`], at its width of 768.
    pub const GPT2_INIT_STD: f64 = 0.02;

    /// The same at another width: sums of C products stay in scale when weights grow as 1/√C. A narrow
    /// model that begins with 0.02 finds its voice late.
    pub fn init_std_for_width(n_embd: usize) -> f64 {
        Self::GPT2_INIT_STD * (768. / n_embd as f64).sqrt()
    }

    /// How fresh weights are drawn: those of most matrices, and those of matrices whose result is added to x.
    pub fn weight_inits(&self) -> [Init; 2] {
        let std = self.init_std;
        // So that what 2 n_layer layers add up to stays in scale (Radford et al. 2019, 2.3).
        let residual = Init::Normal { std: std / (2. * self.n_layer as f64).sqrt() };
        [Init::Normal { std }, residual]
    }
}
