//! Weight initialization: the standard deviation grows as the model gets narrower.

use tensor_core::Init;

use crate::ModelConfig;

impl ModelConfig {
    /// Standard deviation of GPT-2, whose width is 768.
    pub const GPT2_INIT_STD: f64 = 0.02;

    /// GPT-2's standard deviation scaled to another width as 1/√C, which keeps sums of C products
    /// in scale. A narrow model initialized with 0.02 learns slowly at first.
    pub fn init_std_for_width(n_embd: usize) -> f64 {
        Self::GPT2_INIT_STD * (768. / n_embd as f64).sqrt()
    }

    /// Initialization of most matrices, and of those whose output is added to the residual stream.
    pub fn weight_inits(&self) -> [Init; 2] {
        let std = self.init_std;
        // 1/√(2 n_layer) keeps the sum of 2 n_layer residual layers in scale (Radford et al. 2019,
        // 2.3).
        let residual = Init::Normal { std: std / (2. * self.n_layer as f64).sqrt() };
        [Init::Normal { std }, residual]
    }
}
