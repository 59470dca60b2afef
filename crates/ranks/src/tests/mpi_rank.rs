//! Threading level of MPI.

use mpi::Threading;

use crate::mpi_rank::ensure_funneled;

#[test]
fn a_threading_level_that_allows_one_thread_alone_is_refused_by_its_name() {
    for granted in [Threading::Funneled, Threading::Serialized, Threading::Multiple] {
        assert!(ensure_funneled(granted).is_ok(), "{granted:?}");
    }
    let error = ensure_funneled(Threading::Single).unwrap_err().to_string();
    assert!(error.starts_with("MPI grants the threading level Single"), "{error}");
}
