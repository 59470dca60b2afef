//! Sums over ranks on their GPUs, by NCCL. MPI has started the processes, and tells them where to
//! meet.

use std::cell::RefCell;
use std::ffi::c_char;

use anyhow::{Result, anyhow, ensure};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, Device, Error, InplaceOp1, Layout, Tensor, bail};
use mpi::topology::SimpleCommunicator;
use mpi::traits::CommunicatorCollectives;

use crate::Ranks;

thread_local! {
    /// NCCL, from the first sum of this process to its end.
    static COMMUNICATOR: RefCell<Option<Communicator>> = const { RefCell::new(None) };
}

/// Replaces `values`, f32 on the GPU of this process, by their sums over all ranks. The first call
/// starts NCCL.
///
/// # Errors
/// Those of [`Communicator::start`], and when the GPU or the network fails.
pub(crate) fn all_reduce_sum(ranks: &Ranks, values: &Tensor) -> Result<()> {
    COMMUNICATOR.with_borrow_mut(|communicator| {
        let communicator = match communicator {
            Some(communicator) => communicator,
            None => communicator.insert(Communicator::start(ranks, values.device())?),
        };
        communicator.all_reduce_sum(values)
    })
}

/// Ends NCCL, when no rank reads from the GPU of another any more.
pub(crate) fn finish() {
    SimpleCommunicator::world().barrier();
    drop(COMMUNICATOR.take());
}

/// Communicator of the ranks, each with a GPU of its own.
pub(crate) struct Communicator(Comm);

impl Communicator {
    /// Starts NCCL on `device`, the GPU of this rank.
    ///
    /// # Errors
    /// When two ranks have the same GPU, or NCCL finds no way between the GPUs.
    pub(crate) fn start(ranks: &Ranks, device: &Device) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread()?; // NCCL uses the current GPU of the thread
        let uuid = stream.context().uuid()?.bytes.map(|byte| byte as u8);
        ensure_one_rank_per_gpu(&ranks.gather(&uuid)?)?;
        let id = ranks.on_first(|| {
            let id = Id::new().map_err(nccl_error)?;
            Ok(id.internal().map(|byte| byte as u8).to_vec())
        })?;
        let id: [u8; 128] = id.try_into().map_err(|_| anyhow!("NCCL: an id of another length"))?;
        let id = Id::uninit(id.map(|byte| byte as c_char));
        // Candle's stream is that of the calling thread. A communicator that is made here, where
        // the call waits for it, launches in that thread, too (NVIDIA/nccl #1976).
        let comm = Comm::from_rank(stream, ranks.rank(), ranks.world_size(), id);
        Ok(Self(comm.map_err(nccl_error)?))
    }

    /// Replaces `values`, f32, by their sums over all ranks. The GPU computes them after the call,
    /// in the order of its stream.
    ///
    /// # Errors
    /// When the GPU or the network fails.
    pub(crate) fn all_reduce_sum(&self, values: &Tensor) -> Result<()> {
        Ok(values.inplace_op1(self)?)
    }
}

impl InplaceOp1 for Communicator {
    fn name(&self) -> &'static str {
        "all_reduce_sum"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        bail!("NCCL: the values are on the CPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("NCCL: not contiguous: {layout:?}")
        };
        let mut values = storage.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        self.0.all_reduce_in_place(&mut values, &ReduceOp::Sum).map_err(nccl_error)?;
        Ok(())
    }
}

/// NCCL itself would say that its usage is invalid.
pub(crate) fn ensure_one_rank_per_gpu(uuids: &[[u8; 16]]) -> Result<()> {
    for (rank, uuid) in uuids.iter().enumerate() {
        let first = uuids.iter().position(|other| other == uuid).unwrap_or(rank);
        ensure!(
            first == rank,
            "ranks {first} and {rank} are on the same GPU, and NCCL needs one for each rank: start \
             at most as many ranks per host as it has GPUs, without an index in --device"
        );
    }
    Ok(())
}

fn nccl_error(error: NcclError) -> Error {
    Error::Msg(format!("NCCL: {:?}; with NCCL_DEBUG=WARN in the environment it says why", error.0))
}
