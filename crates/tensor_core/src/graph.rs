//! Autograd graph: the operation and the inputs of every tensor, and the backward pass through
//! them.
//!
//! candle has a graph of its own, but it allocates zeros for every gradient and adds to them, keeps
//! every tensor until the end, computes gradients of frozen inputs, and allows at most three
//! inputs. The operations of [`ops`](crate::ops) therefore record a node here, and [`backward`]
//! runs the nodes, newest first, each once its whole gradient has been accumulated. It frees the
//! saved tensors of a node as soon as the node is done.
//!
//! The two graphs can be mixed. candle treats a recorded result as a function of one tiny variable;
//! a gradient that arrives there is handed over to this graph. If an input was computed by candle,
//! candle propagates its gradient further, each time through everything that the input was computed
//! from. On the residual path of a deep model, add with [`ops::add`](fn@crate::ops::add).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use candle_core::backprop::GradStore;
use candle_core::shape::ShapeWithOneHole;
use candle_core::{Device, Result, Shape, Tensor, TensorId, bail};

mod bridge;
mod pass;
mod gradient_checkpoint;

use bridge::{Recorded, candle_backward, placeholder};
pub use gradient_checkpoint::{gradient_checkpoint, gradient_checkpoint_all};
use pass::BackwardPass;

use crate::ops::float::Float;

/// Gradients of `loss` with respect to every variable that it depends on; of its sum, if it has
/// more than one element.
///
/// Use it in place of candle's `loss.backward()`, which stops with an error at the first operation
/// of this crate. Variables must still hold the values of the forward pass: operations save their
/// inputs, not copies of them.
///
/// # Errors
/// When an operation has no derivative, or the graph was differentiated before: its memory is freed
/// during the backward pass.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let (grads, node_grads) = candle_backward(loss)?;
    let mut pass = BackwardPass { grads, pending: BTreeMap::new() };
    pass.accumulate(node_grads)?;
    while let Some((_, (node, grad))) = pass.pending.pop_last() {
        node.run(&grad, &mut pass)?;
    }
    Ok(pass.grads)
}

/// View of `x` in another shape, as candle's `reshape`, but without a detour through candle's
/// graph.
pub fn reshape(x: &Tensor, shape: impl ShapeWithOneHole) -> Result<Tensor> {
    let y = x.reshape(shape)?;
    if let Some(node) = Node::of(x) {
        node.register(y.id());
    }
    Ok(y)
}

/// True if a function of `x` would be recorded in the graph.
pub(crate) fn is_tracked(x: &Tensor) -> bool {
    x.track_op()
}

/// Tensor of `result`, recorded as a function of `inputs`.
///
/// `backward(grad, needed)` maps the gradient of the result, contiguous, to those of the inputs. It
/// may skip the gradient of an input that is not `needed`. It must not capture the result, or
/// neither would ever be freed.
pub(crate) fn record<T: Float, const N: usize>(
    name: &'static str,
    inputs: [&Tensor; N],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl FnOnce(&Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + Send + 'static,
) -> Result<Tensor> {
    record_all(name, &inputs, result, shape, move |grad, needed| {
        let needed = std::array::from_fn(|i| needed[i]);
        Ok(backward(grad, needed)?.into())
    })
}

/// [`record`] for any number of inputs.
pub(crate) fn record_all<T: Float>(
    name: &'static str,
    inputs: &[&Tensor],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send + 'static,
) -> Result<Tensor> {
    let shape = shape.into();
    let sources: Vec<Option<Source>> = inputs.iter().map(|x| Source::of(x)).collect();
    let needed: Vec<bool> = sources.iter().map(Option::is_some).collect();
    if !needed.contains(&true) {
        return Tensor::from_vec(result, shape, &Device::Cpu);
    }
    let backward = move |grad: &Tensor| Ok((backward(grad, &needed)?, None));
    let node = Node::new(name, &shape, sources, backward);
    let result = Mutex::new(Some((T::to_cpu_storage_owned(result), shape)));
    let result = placeholder()?.apply_op1(Recorded { node: node.clone(), result })?;
    node.register(result.id());
    Ok(result)
}

/// [`record`] for an operation whose backward pass reads its result: `backward(result, grad,
/// needed)`.
pub(crate) fn record_with_result<T: Float, const N: usize, F>(
    name: &'static str,
    inputs: [&Tensor; N],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: F,
) -> Result<Tensor>
where
    F: FnOnce(&Tensor, &Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + Send + 'static,
{
    let saved = Arc::new(OnceLock::new());
    let saved_result: Arc<OnceLock<Tensor>> = saved.clone();
    let result = record(name, inputs, result, shape, move |grad, needed| {
        backward(saved_result.get().expect("set below"), grad, needed)
    })?;
    let _ = saved.set(result.detach()); // shares the memory, but does not keep the graph alive
    Ok(result)
}

/// Operation that has run forward.
struct Node {
    name: &'static str,
    /// Creation order: inputs are older than results.
    order: u64,
    shape: Shape,
    /// Ids of the tensors that hold its result, in any shape.
    ids: Mutex<Vec<TensorId>>,
    /// Backward function; taken by the backward pass.
    step: Mutex<Option<BackwardStep>>,
}

struct BackwardStep {
    sources: Vec<Option<Source>>,
    backward: Box<Backward>,
}

/// Backward function: maps the gradient of the result to those of the inputs, and of variables that
/// are not inputs.
type Backward = dyn FnOnce(&Tensor) -> Result<(Vec<Option<Tensor>>, Option<GradStore>)> + Send;

/// Origin of an input, to which its gradient is propagated.
enum Source {
    Variable(Tensor),
    Node(Arc<Node>),
    Candle(Tensor),
}

impl Source {
    /// Origin of `x`; `None` for a constant.
    fn of(x: &Tensor) -> Option<Self> {
        if x.is_variable() {
            return Some(Self::Variable(x.clone()));
        }
        if !x.track_op() {
            return None;
        }
        Some(Node::of(x).map_or_else(|| Self::Candle(x.clone()), Self::Node))
    }
}

impl Node {
    fn new(
        name: &'static str,
        shape: &Shape,
        sources: Vec<Option<Source>>,
        backward: impl FnOnce(&Tensor) -> Result<(Vec<Option<Tensor>>, Option<GradStore>)>
        + Send
        + 'static,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let order = NEXT.fetch_add(1, Ordering::Relaxed);
        let step = BackwardStep { sources, backward: Box::new(backward) };
        let (shape, step) = (shape.clone(), Mutex::new(Some(step)));
        Arc::new(Self { name, order, shape, ids: Mutex::default(), step })
    }

    fn of(x: &Tensor) -> Option<Arc<Self>> {
        lock(&NODES).get_or_insert_default().get(&x.id()).and_then(Weak::upgrade)
    }

    fn register(self: &Arc<Self>, id: TensorId) {
        lock(&self.ids).push(id);
        lock(&NODES).get_or_insert_default().insert(id, Arc::downgrade(self));
    }

    /// Nodes of its inputs, which it gives up.
    fn take_sources(&self) -> Vec<Arc<Self>> {
        let sources = lock(&self.step).take().map(|step| step.sources).unwrap_or_default();
        let node = |source| if let Source::Node(node) = source { Some(node) } else { None };
        sources.into_iter().flatten().filter_map(node).collect()
    }

    /// Propagates the gradient of its result to its inputs.
    fn run(&self, grad: &Tensor, pass: &mut BackwardPass) -> Result<()> {
        let Some(step) = lock(&self.step).take() else {
            bail!("{}: backward was already called on this graph; run forward again", self.name)
        };
        let (grads, others) = (step.backward)(&grad.contiguous()?)?;
        for (source, grad) in step.sources.into_iter().zip(grads) {
            if let (Some(source), Some(grad)) = (source, grad) {
                pass.propagate(source, grad)?;
            }
        }
        others.map_or(Ok(()), |others| pass.grads.extend(others))
    }
}

/// Node of each recorded tensor. (candle does not expose the operation that it stores in a tensor.)
static NODES: Mutex<Option<HashMap<TensorId, Weak<Node>>>> = Mutex::new(None);

impl Drop for Node {
    fn drop(&mut self) {
        // Iterative, since the graph of a long computation is deeper than the stack.
        let mut below = self.take_sources();
        while let Some(node) = below.pop() {
            if let Some(node) = Arc::into_inner(node) {
                below.extend(node.take_sources());
            }
        }
        let mut nodes = lock(&NODES);
        for id in lock(&self.ids).drain(..) {
            nodes.get_or_insert_default().remove(&id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
