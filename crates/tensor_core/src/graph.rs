//! The graph: which operation made a tensor from which inputs, and how a gradient goes back through it.
//!
//! candle has a graph of its own, but it allocates zeros for every gradient and adds to them, keeps every tensor until
//! the end, computes gradients of frozen inputs, and allows three inputs. So an operation of [`ops`](crate::ops)
//! records a node here, and [`backward`] runs the nodes, newest first, each only when its whole gradient is there. It
//! frees what a node saved as soon as the node is done.
//!
//! The two graphs mix freely. To candle, a recorded result is a function of one tiny variable; where a gradient
//! arrives there, it is handed over. Where an input was made by candle, candle takes its gradient further, each time
//! through all that candle made it from: on the residual path of a deep model, add with [`ops::add`](fn@crate::ops::add).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use candle_core::backprop::GradStore;
use candle_core::shape::ShapeWithOneHole;
use candle_core::{Device, Result, Shape, Tensor, TensorId, bail};

mod bridge;
mod pass;
mod gradient_checkpoint;

use crate::ops::float::Real;
use bridge::{Recorded, stub, through_candle};
use pass::Pass;

pub use gradient_checkpoint::{gradient_checkpoint, gradient_checkpoint_all};

/// The gradients of `loss` for every variable it depends on; of its sum, if it has more than one element.
///
/// Use it in place of candle's `loss.backward()`, which stops with an error at the first operation of this crate. Variables
/// must hold what they held in the forward pass: operations keep their inputs, not copies of them.
///
/// # Errors
/// When an operation has no derivative, or the graph was differentiated before: its memory is freed on the way.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let (grads, arrived) = through_candle(loss)?;
    let mut pass = Pass { grads, pending: BTreeMap::new() };
    pass.take(arrived)?;
    while let Some((_, (node, grad))) = pass.pending.pop_last() {
        node.run(&grad, &mut pass)?;
    }
    Ok(pass.grads)
}

/// `x` seen in another shape, as candle's `reshape`, but without a detour through candle's graph.
pub fn reshape(x: &Tensor, shape: impl ShapeWithOneHole) -> Result<Tensor> {
    let y = x.reshape(shape)?;
    if let Some(node) = Node::of(x) {
        node.register(y.id());
    }
    Ok(y)
}

/// Whether a function of `x` would be recorded.
pub(crate) fn is_tracked(x: &Tensor) -> bool {
    x.track_op()
}

/// The tensor of `result`, recorded as a function of `inputs`.
///
/// `backward(grad, needed)` turns the gradient of the result, contiguous, into those of the inputs; it may leave out the
/// gradient of an input that is not `needed`. It must not capture the result, or neither would ever be freed.
pub(crate) fn record<T: Real, const N: usize>(
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

/// [`record`] for as many inputs as there are.
pub(crate) fn record_all<T: Real>(
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
    let result = stub()?.apply_op1(Recorded { node: node.clone(), result })?;
    node.register(result.id());
    Ok(result)
}

/// [`record`] for an operation whose backward pass reads its result: `backward(result, grad, needed)`.
pub(crate) fn record_with_result<T: Real, const N: usize>(
    name: &'static str,
    inputs: [&Tensor; N],
    result: Vec<T>,
    shape: impl Into<Shape>,
    backward: impl FnOnce(&Tensor, &Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + Send + 'static,
) -> Result<Tensor> {
    let saved = Arc::new(OnceLock::new());
    let later: Arc<OnceLock<Tensor>> = saved.clone();
    let result = record(name, inputs, result, shape, move |grad, needed| {
        backward(later.get().expect("set below"), grad, needed)
    })?;
    let _ = saved.set(result.detach()); // the same memory, but not the tensor that keeps the graph alive
    Ok(result)
}

/// An operation that has run forward.
struct Node {
    name: &'static str,
    /// Inputs are older than results.
    order: u64,
    shape: Shape,
    /// The tensors that stand for its result, in whatever shape.
    ids: Mutex<Vec<TensorId>>,
    /// Taken by the backward pass.
    step: Mutex<Option<Step>>,
}

struct Step {
    sources: Vec<Option<Source>>,
    backward: Box<Backward>,
}

/// From the gradient of the result to those of the inputs, and of variables that are no inputs.
type Backward = dyn FnOnce(&Tensor) -> Result<(Vec<Option<Tensor>>, Option<GradStore>)> + Send;

/// Where an input came from, which is where its gradient goes.
enum Source {
    Variable(Tensor),
    Node(Arc<Node>),
    Candle(Tensor),
}

impl Source {
    /// `None` for a constant.
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
        let step = Step { sources, backward: Box::new(backward) };
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

    /// The nodes that it stands on, which it lets go.
    fn take_sources(&self) -> Vec<Arc<Self>> {
        let sources = lock(&self.step).take().map(|step| step.sources).unwrap_or_default();
        let node = |source| if let Source::Node(node) = source { Some(node) } else { None };
        sources.into_iter().flatten().filter_map(node).collect()
    }

    /// Turns the gradient of its result into those of what it was made from.
    fn run(&self, grad: &Tensor, pass: &mut Pass) -> Result<()> {
        let Some(step) = lock(&self.step).take() else {
            bail!("{}: backward has run through this operation before", self.name)
        };
        let (grads, others) = (step.backward)(&grad.contiguous()?)?;
        for (source, grad) in step.sources.into_iter().zip(grads) {
            if let (Some(source), Some(grad)) = (source, grad) {
                pass.deliver(source, grad)?;
            }
        }
        others.map_or(Ok(()), |others| pass.grads.extend(others))
    }
}

/// Finds the node of a tensor. (candle shows nobody the operation that it stores in a tensor.)
static NODES: Mutex<Option<HashMap<TensorId, Weak<Node>>>> = Mutex::new(None);

impl Drop for Node {
    fn drop(&mut self) {
        // One after the other: the graph of a long computation is deeper than the stack.
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
