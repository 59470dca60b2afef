#!/usr/bin/env bash
# All that a machine with a GPU can check, in at most eight minutes: the tests that compare each
# device with the CPU, a training step of each part in f32 and bf16, and the tokens per second of a
# step beside PyTorch's, if COURSE_PYTHON is a Python that has it. Prints one table; the exit code
# is 1 if a row has failed. It compiles nothing. The programs and the tests are made by
#
#     cargo build --workspace --features cuda
#     cargo test --workspace --features cuda --no-run
#
# or, without an installation of CUDA, by scripts/check_cuda.sh. With --features cuda,nccl, a rank
# for each GPU is tried, too. Without a GPU, and with programs that were built without the feature,
# the script itself is tried:
#
#     bash scripts/check_device.sh --device cpu
#
# PROGRAMS is the folder of the programs, if not target/debug. On a machine where the programs were
# not made, LD_LIBRARY_PATH must have the folder of libcublas.so (with `nccl`, also those of
# libnccl.so.2 and of MPI's library).
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

device=cuda
case ${1-} in
'') ;;
--device) device=${2:?"--device: cuda, cuda:N or cpu"} ;;
*) echo "usage: $0 [--device cuda|cpu]" >&2 && exit 2 ;;
esac
programs=$(realpath -m "${PROGRAMS:-target/debug}")
python=${COURSE_PYTHON-}
time_limit=480 # seconds, of the whole script
command_limit=120
out=$(mktemp -d)
rows=()
failed=0

cleanup() {
    local job
    for job in $(jobs -p); do
        kill "$job" 2>/dev/null || true
    done
    rm -rf "$out"
}
trap cleanup EXIT

on_gpu() { [[ $device == cuda* ]]; }

if on_gpu; then
    index=0
    [[ $device != *:* ]] || index=${device#*:}
    # Programs that were linked on a machine without a driver do not name its library.
    preload=(env "LD_PRELOAD=libcuda.so.1")
    export COURSE_DEVICE=cuda # the tests fail if they find no GPU
    machine=$(nvidia-smi -i "$index" --query-gpu=name,driver_version --format=csv,noheader) || {
        echo "nvidia-smi finds no GPU $index; --device cpu tries the script without one" >&2
        exit 2
    }
else
    preload=()
    machine=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)
fi

# Memory in MiB: that in use on the GPU, by all programs, or the largest so far of process $1.
memory_in_use() {
    if on_gpu; then
        nvidia-smi -i "$index" --query-gpu=memory.used --format=csv,noheader,nounits
    else
        awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$1/status" 2>/dev/null || true
    fi
}

# Runs the command after the log file $1, and sets `code`, `seconds` and `memory`, the most that it
# used (on a GPU, beyond what was in use before). Its exit code is 124 if it was too slow.
run() {
    local log=$1 before=0 pid begun started=$EPOCHREALTIME now is_late=
    shift
    memory=0 code=0 begun=$SECONDS
    ! on_gpu || before=$(memory_in_use)
    "${preload[@]}" "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(memory_in_use "$pid")
        now=$((${now:-0} - before))
        if ((now > memory)); then
            memory=$now
        fi
        if ((SECONDS - begun > command_limit || SECONDS > time_limit)); then
            is_late=1
            kill -KILL "$pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
    wait "$pid" || code=$?
    [[ -z $is_late ]] || code=124
    seconds=$(awk -v from="$started" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')
}

row() { # what, result, seconds, MiB
    rows+=("| $1 | $2 | ${3-} | ${4-} |")
    echo "$1: $2${3:+, $3 s}" >&2
}

# Row of the command that has just run, `what` it was, with `result` if it was right.
row_of_run() {
    local what=$1 result=$2 log=$3 last
    case $code in
    0) row "$what" "$result" "$seconds" "$memory" ;;
    124) failed=1 && row "$what" "**stopped: too slow**" "$seconds" "$memory" ;;
    *)
        failed=1
        last=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | cut -c 1-120 | tr '|' '/') || true
        row "$what" "**failed**: $last"
        tail -n 20 "$log" >&2
        ;;
    esac
}

missing() {
    echo "$1 is missing in $programs: the head of $0 has the commands that make it" >&2
    exit 2
}

# Latest test program of the library $1 that has tests for each device.
test_program() {
    local program
    # shellcheck disable=SC2012 # names of cargo's making, by age
    for program in $(ls -t "$programs/deps/$1"-* 2>/dev/null); do
        if [[ $program != *.* && -x $program ]] &&
            [[ $("${preload[@]}" "$program" --list 2>/dev/null) == *on_each_device* ]]; then
            echo "$program"
            return
        fi
    done
}

run_tests() {
    local library folder program
    for library in tensor_core:tensor_core attention:part_1_attention tiny_gpt:part_2_tiny_gpt \
        modern:part_3_modern scaling:part_4_scaling moe:part_5_moe sft:part_6_sft \
        reward:part_7_reward ppo:part_8_ppo grpo:part_9_grpo dpo:part_10_dpo; do
        folder=crates/${library#*:} library=${library%:*}
        program=$(test_program "$library")
        [[ $program ]] || missing "the test program of $library"
        run "$out/tests.log" env -C "$folder" "$program" on_each_device --test-threads 1
        row_of_run "tests of $library" \
            "$(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$out/tests.log")" \
            "$out/tests.log"
    done
}

# As many ranks as there are GPUs, joined by NCCL, compute what one rank does alone.
run_nccl() {
    local what="ranks joined by NCCL" program
    program=$(test_program ranks)
    if [[ -z $program ]]; then
        row "$what" "skipped: no test program with the feature nccl"
    elif ! on_gpu; then
        row "$what" "skipped: no GPU"
    else
        run "$out/tests.log" env -C crates/ranks "$program" on_each_device --test-threads 1
        row_of_run "$what" "equal to one" "$out/tests.log"
    fi
}

# A training step of part $1 with these arguments, in f32, whose model is kept, and in bf16.
step() {
    local part=$1 program=$programs/part_$1 log=$out/step.log flags
    shift
    [[ -x $program ]] || missing "part_$part"
    flags=(--steps 1 --seed 0 --device "$device")
    run "$log" "$program" train "$@" "${flags[@]}" --out "$out/$part"
    row_of_run "part $part, a step in f32" "ran" "$log"
    run "$log" "$program" train "$@" "${flags[@]}" --dtype bf16 --out "$out/$part-bf16"
    row_of_run "part $part, a step in bf16" "ran" "$log"
}

run_steps() {
    local size=(--data data/tiny.txt --n-layer 2 --n-embd 64 --context-len 128 --batch-size 8)
    local answers=$out/answers.jsonl pairs=$out/pairs.jsonl name
    for name in Mei Leo Ada Ben Tom Eva Max Zoe Kim Ira Uma Raj; do
        printf '{"prompt": "Who are you, %s?", "completion": "A small model."}\n' "$name"
    done >"$answers"
    for name in Mei Leo Ada Ben Tom Eva Max Zoe Kim Ira Uma Raj; do
        printf '{"prompt": "Who are you, %s?", "chosen": "A model.", "rejected": "A king."}\n' \
            "$name"
    done >"$pairs"
    step 2 "${size[@]}"
    step 3 "${size[@]}"
    step 4 "${size[@]}" --n-head 2 --vocab-size 512
    step 5 "${size[@]}"
    step 6 --model "$out/4/model" --data "$answers" --batch-size 4
    step 7 --model "$out/6" --data "$pairs" --batch-size 4
    step 8 --model "$out/6" --reward "$out/7" --data "$answers" --batch-size 4 --max-new-tokens 8
    step 9 --model "$out/6" --batch-size 4 --group-size 4 --max-new-tokens 8 --eval-examples 4
    step 10 --model "$out/6" --data "$pairs" --batch-size 4
}

# Row of a training step of $1 tokens by the worker that is the command after $1 and `who` it is.
# It reads the request from the file `request`.
speed() {
    local tokens=$1 who=$2 log=$out/speed.log step_seconds
    shift 2
    run "$log" bash -c 'exec "$@" <"$0"' "$out/request" "$@"
    step_seconds=$(sed -n 's/.*"seconds": *\([0-9.e-]*\).*/\1/p' "$log" | tail -n 1)
    if ((code == 0)) && [[ -z $step_seconds ]]; then
        code=1 # an error is a response, too
    fi
    row_of_run "training step, $who" "$(awk -v n="$tokens" -v s="${step_seconds:-1}" \
        'BEGIN { printf "%.0f tokens/s", n / s }')" "$log"
}

run_speed() {
    local worker=$programs/worker mode
    # The sizes of the first two training steps of `cargo x compare`
    local size='"n_layer":6,"n_head":6,"n_embd":384,"n_ff":1024,"block_size":256,"batch_size":8'
    on_gpu || size='"n_layer":2,"n_head":2,"n_embd":128,"n_ff":344,"block_size":128,"batch_size":16'
    [[ -x $worker ]] || missing worker
    echo "{\"work\":\"train_step\",\"model\":\"llama\",\"vocab\":256,$size,\"seconds\":5}" \
        >"$out/request"
    speed 2048 ours "$worker" --device "$device"
    if [[ -z $python ]]; then
        row "training step, PyTorch" "skipped: COURSE_PYTHON is not set"
        return
    fi
    local failed # a PyTorch that cannot compile is a row, and no fault of ours
    for mode in eager compile; do
        speed 2048 "PyTorch $mode" "$python" benches/python/worker.py --device "$device" \
            --mode "$mode"
    done
}

run_tests
run_nccl
run_steps
run_speed
echo "$machine, --device $device, $SECONDS s"
echo "| check | result | s | MiB at most |"
echo "| --- | --- | --- | --- |"
printf '%s\n' "${rows[@]}"
exit "$failed"
