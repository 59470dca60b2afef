#!/usr/bin/env bash
# Builds all programs and tests with the feature `cuda` on a machine without CUDA and without a GPU:
# the compiler and the libraries come from pip. Where an MPI library and libclang are installed
# (libopenmpi-dev and libclang-dev of Debian), it builds with `nccl`, too. Prints what was built,
# its time and its size, or what stopped it.
#
#     bash scripts/check_cuda.sh FOLDER
#
# FOLDER, outside the repository, gets a virtual environment of Python (venv) and the build
# (target), some GB each. What is there already is used again. The environment variable
# CUDA_COMPUTE_CAP is the architecture of the GPU (90 if not set: H100, H200). FEATURES=cuda leaves
# out `nccl`, whose programs start only where there is a library of MPI. Needs cargo, a C compiler
# and Python with venv. The first build compiles candle's kernels, about 20 minutes on two cores.
set -euo pipefail
export LC_ALL=C
folder=$(realpath -m "${1:?"usage: $0 FOLDER"}")
cd "$(dirname "$0")/.."
mkdir -p "$folder"
log=$folder/build.log
stubs=$folder/stubs
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}

stop() {
    echo "stopped after $SECONDS s: $1" >&2
    exit 1
}

# Runs the command after the sentence $1, which is what stopped the script if it fails.
must() {
    local sentence=$1
    shift
    echo "> $*" | tee -a "$log" >&2
    if ! "$@" >>"$log" 2>&1; then
        grep -E -A 12 '^(error|ERROR)' "$log" | head -n 40 >&2 || true
        echo "the last lines of $log:" >&2
        tail -n 15 "$log" >&2
        stop "$sentence"
    fi
}

: >"$log"
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || stop "$tool is not installed"
done

has_libclang() {
    [[ ${LIBCLANG_PATH-} ]] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
        PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -F libclang >/dev/null
}
features=${FEATURES-}
if [[ -z $features ]]; then
    features=cuda
    if command -v mpicc >/dev/null && has_libclang; then
        features=cuda,nccl
    fi
fi

# Versions of CUDA 13.0; each package has numbers of its own.
packages=(nvidia-curand==10.4.0.*)
for package in cuda-nvcc nvvm cuda-crt cuda-runtime cuda-cccl cublas cuda-nvrtc; do
    packages+=("nvidia-$package==13.0.*")
done
[[ $features != *nccl* ]] || packages+=(nvidia-nccl-cu13==2.30.*)
[[ -x $folder/venv/bin/python ]] ||
    must "python3 cannot make a virtual environment (Debian: python3-venv)" \
        python3 -m venv "$folder/venv"
must "pip cannot install the packages" \
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
cuda=$(find "$folder/venv" -type d -path '*/nvidia/cu13' -print -quit)
[[ -x $cuda/bin/nvcc ]] || stop "the packages have no nvidia/cu13/bin/nvcc"

# What an installation has and the packages have not: lib64, libraries without a version, and NCCL
# beside the others.
[[ -e $cuda/lib64 ]] || ln -s lib "$cuda/lib64"
if [[ $features == *nccl* ]]; then
    [[ -e $cuda/../nccl/lib/libnccl.so.2 ]] || stop "the packages have no nvidia/nccl"
    [[ -e $cuda/lib/libnccl.so.2 ]] ||
        ln -s ../../nccl/lib/libnccl.so.2 "$cuda/lib/libnccl.so.2"
fi
for library in "$cuda"/lib/lib*.so.*; do
    name=$(basename "$library")
    [[ -e $cuda/lib/${name%%.so.*}.so ]] || ln -s "$name" "$cuda/lib/${name%%.so.*}.so"
done

# The library of the driver. Where there is none, an empty one stands for it: the programs can be
# linked, and are started on the machine with the GPU, as scripts/check_device.sh does.
mkdir -p "$stubs"
flags=("-L" "native=$stubs")
driver=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | awk '/libcuda\.so\.1 / { print $NF; exit }')
if [[ $driver ]]; then
    ln -sf "$driver" "$stubs/libcuda.so"
else
    must "cc cannot make an empty libcuda.so" \
        cc -shared -x c /dev/null -o "$stubs/libcuda.so" -Wl,-soname,libcuda.so.1
    # Nothing is found in the empty library, but the programs must name it to load the real one.
    flags+=("-C" "link-arg=-Wl,--unresolved-symbols=ignore-all"
        "-C" "link-arg=-Wl,--push-state,--no-as-needed,-lcuda,--pop-state")
fi
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
export PATH=$cuda/bin:$PATH CARGO_TARGET_DIR=$folder/target
export CUDA_HOME=$cuda CUDA_PATH=$cuda CUDA_ROOT=$cuda CUDA_TOOLKIT_ROOT_DIR=$cuda
must "nvcc does not run" nvcc --version

begun=$SECONDS
must "the programs cannot be built" cargo build --workspace --features "$features"
must "the tests cannot be built" cargo test --workspace --features "$features" --no-run

readelf -d "$CARGO_TARGET_DIR/debug/part_3" | grep -F libcuda.so.1 >/dev/null ||
    stop "the programs do not load the library of the driver, libcuda.so.1"

echo "built with $features for compute capability $CUDA_COMPUTE_CAP in $((SECONDS - begun)) s:"
du -sh "$folder/venv" "$folder/target"
du -shL "$folder"/target/debug/part_* "$folder/target/debug/worker" | grep -v '\.d$'
echo "on the machine with the GPU:"
echo "    LD_LIBRARY_PATH=$cuda/lib PROGRAMS=$folder/target/debug bash scripts/check_device.sh"
