//! Autograd graph: the operation and the inputs of every tensor, and the backward pass through
//! them.
//!
//! candle has a graph of its own, but it allocates zeros for every gradient and adds to them, keeps
//! every tensor until the end, computes gradients of frozen inputs, and allows at most three
//! inputs. The operations of [`ops`](crate::ops) therefore record a node here, and [`backward()`]
//! runs the nodes, newest first, each once its whole gradient has been accumulated. It frees the
//! saved tensors of a node as soon as the node is done.
//!
//! The two graphs can be mixed. candle treats a recorded result as a function of one tiny variable;
//! a gradient that arrives there is handed over to this graph. If an input was computed by candle,
//! candle propagates its gradient further, each time through everything that the input was computed
//! from. On the residual path of a deep model, add with [`ops::add`](fn@crate::ops::add).

mod node;
mod bridge;
mod record;
mod backward;
mod gradient_checkpoint;
mod grad_sum;
mod row_chunks;

pub use backward::backward;
pub use gradient_checkpoint::{gradient_checkpoint, gradient_checkpoint_all};
pub use record::reshape;
pub(crate) use record::{is_tracked, record, record_all, record_with_result};
pub use row_chunks::{map_row_chunks, sum_row_chunks};
