//! Node of the graph: an operation that has run forward, and the origins of its inputs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use candle_core::backprop::GradStore;
use candle_core::{Result, Shape, Tensor, TensorId, bail};

/// Operation that has run forward.
pub(super) struct Node {
    pub(super) name: &'static str,
    /// Creation order: inputs are older than results.
    pub(super) order: u64,
    pub(super) shape: Shape,
    /// Ids of the tensors that hold its result, in any shape.
    ids: Mutex<Vec<TensorId>>,
    /// Backward function; taken by the backward pass.
    step: Mutex<Option<BackwardStep>>,
}

/// Inputs of a node's backward pass.
pub(super) struct BackwardStep {
    pub(super) sources: Vec<Option<Source>>,
    pub(super) backward: Box<Backward>,
}

/// Backward function: maps the gradient of the result to those of the inputs, and of variables that
/// are not inputs.
pub(super) type Backward =
    dyn FnOnce(&Tensor) -> Result<(Vec<Option<Tensor>>, Option<GradStore>)> + Send;

/// Origin of an input, to which its gradient is propagated.
pub(super) enum Source {
    Variable(Tensor),
    Node(Arc<Node>),
    Candle(Tensor),
}

impl Source {
    /// Origin of `x`; `None` for a constant.
    pub(super) fn of(x: &Tensor) -> Option<Self> {
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
    pub(super) fn new(
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

    pub(super) fn of(x: &Tensor) -> Option<Arc<Self>> {
        lock(&NODES).get_or_insert_default().get(&x.id()).and_then(Weak::upgrade)
    }

    pub(super) fn register(self: &Arc<Self>, id: TensorId) {
        lock(&self.ids).push(id);
        lock(&NODES).get_or_insert_default().insert(id, Arc::downgrade(self));
    }

    /// Nodes of its inputs, which it gives up.
    fn take_sources(&self) -> Vec<Arc<Self>> {
        let sources = lock(&self.step).take().map(|step| step.sources).unwrap_or_default();
        let node = |source| if let Source::Node(node) = source { Some(node) } else { None };
        sources.into_iter().flatten().filter_map(node).collect()
    }

    /// Backward function and sources, which it gives up.
    ///
    /// # Errors
    /// When they were taken before.
    pub(super) fn take_step(&self) -> Result<BackwardStep> {
        match lock(&self.step).take() {
            Some(step) => Ok(step),
            None => {
                bail!("{}: backward was already called on this graph; run forward again", self.name)
            }
        }
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

/// Locks `mutex`; a panic in another thread leaves its contents valid.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
