#!/usr/bin/env bash
# Trains small models on one, two and four ranks of mpirun, in parts 4 and 6 to 10, and shows that
#
#   - two and four ranks train the weights of one, with the same losses and completions;
#   - a run on two ranks gives the same bytes twice, and can be resumed on four;
#   - after an error of one rank, or a full disk behind its output, all have ended within 10 s;
#   - so they have after kill -9 of a rank, and the resumed run gives the bytes of the one that was
#     not killed.
#
#     bash scripts/check_ranks.sh FOLDER
#
# FOLDER, which is made if it is not there, gets the build (target, some GB), the runs and their
# logs; runs in it are replaced. At the end there is a table; the exit code is 1 if a check has
# failed. Needs Linux, mpirun, python3 and, for the build, cargo, a C compiler, an MPI library with
# mpicc, and libclang. Without mpirun everything is skipped.
#
# Environment variables:
#   PARTS="4 9"      parts to check [default: 4 6 7 8 9 10 online, which is part 10 --online]
#   KILLS=10         how often a rank is killed, for each part [default: 3; 0: never]
#   SEED=1           seed of the moments and the ranks that are killed [default: 1]
#   OVERHEAD=1       also measure, with part 4, what a second rank costs (minutes, and a machine
#                    with nothing else to do); OVERHEAD_FLAGS are its model and batch
#   PROGRAMS=DIR     with SKIP_BUILD=1: folder of part_4 to part_10, built with the feature `mpi`
#   CARGO_TARGET_DIR the build, in place of FOLDER/target
#   LIMIT=300        seconds after which a run is ended, as one that hangs
set -euo pipefail
export LC_ALL=C RUST_BACKTRACE=0
folder=$(realpath -m "${1:?"usage: $0 FOLDER"}")
cd "$(dirname "$0")/.."
parts=${PARTS-4 6 7 8 9 10 online}
kills=${KILLS:-3}
limit=${LIMIT:-300}
limit_of_failure=20 # the start of a run, and 10 s
RANDOM=${SEED:-1}
# A step of 4096 tokens, and 10.8 million weights
overhead_flags=${OVERHEAD_FLAGS:---n-layer 6 --n-embd 384 --n-head 6 --context-len 256 \
    --batch-size 16 --steps 12}
compare=scripts/compare_runs.py
job="" # the run in the background

stop() {
    echo "stopped after $SECONDS s: $1" >&2
    exit 1
}

cleanup() {
    [[ -z $job ]] || kill "$job" 2>/dev/null || true
    rm -rf "$folder/tmp"
}
trap cleanup EXIT

table=()
n_failed=0
# note PART CHECK ok|FAILED|skipped TEXT: a row of the table
note() {
    table+=("| $1 | $2 | $3 | $4 |")
    echo "  $3: $2: $4"
    [[ $3 != FAILED ]] || n_failed=$((n_failed + 1))
}

if ! command -v mpirun >/dev/null; then
    echo "skipped: all checks of ranks, since there is no mpirun (Debian: libopenmpi-dev)"
    exit 0
fi
for tool in python3 pgrep timeout; do
    command -v "$tool" >/dev/null || stop "$tool is not installed"
done
mkdir -p "$folder"/{runs,logs,tmp}

if [[ ${SKIP_BUILD-} ]]; then
    programs=$(realpath -m "${PROGRAMS:?"SKIP_BUILD=1 needs PROGRAMS, the folder of the programs"}")
else
    command -v mpicc >/dev/null || stop "mpicc is not installed (Debian: libopenmpi-dev)"
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$folder/target}
    packages=()
    for part in 4 6 7 8 9 10; do
        packages+=(-p "part_$part")
    done
    echo "== cargo build ${packages[*]} --features mpi, into $CARGO_TARGET_DIR"
    cargo build --locked "${packages[@]}" --features mpi ||
        stop "the programs cannot be built; the feature mpi needs libclang (Debian: libclang-dev)"
    programs=$(realpath "$CARGO_TARGET_DIR")/debug
fi

# Flags of mpirun: more ranks than cores are fine, and root may start them.
mpi_flags=()
if mpirun --version 2>&1 | grep -Eq 'Open MPI|OpenRTE|PRRTE'; then
    mpi_flags+=(--oversubscribe --bind-to none) # by default all threads of a rank share a core
    [[ $(id -u) != 0 ]] || mpi_flags+=(--allow-run-as-root)
fi

# start N PROGRAM FLAGS: `train` on N ranks in place of this shell, its temporary folders in FOLDER
start() {
    local n=$1 program=$programs/$2
    shift 2
    exec timeout --foreground -k 5 "$limit" mpirun "${mpi_flags[@]}" -n "$n" \
        env TMPDIR="$folder/tmp" "$program" train "$@" --threads "${threads:-1}" </dev/null
}

# run NAME N PROGRAM FLAGS: a run in FOLDER/runs/NAME, its output in FOLDER/logs/NAME; shows its
# error, or the end of the output, if it fails.
run() {
    local name=$1
    shift
    rm -rf "$folder/runs/$name"
    resume "$name" "$@"
}

# The same without removing what is there
resume() {
    local name=$1 log=$folder/logs/$1
    shift
    if ! (start "$@" --out "$folder/runs/$name") >"$log" 2>&1; then
        { grep -m 1 '^error' "$log" || tail -n 5 "$log"; } | cut -c 1-300
        return 1
    fi
}

# check PART CHECK COMMAND FOLDERS: a row with the result of scripts/compare_runs.py
check() {
    local part=$1 name=$2 text
    shift 2
    if text=$(python3 "$compare" "$1" "$folder/runs/$2" "$folder/runs/$3" 2>&1 | tail -n 1); then
        note "$part" "$name" ok "$text"
    else
        note "$part" "$name" FAILED "$text"
    fi
}

# Milliseconds since 1970
now() {
    local time=${EPOCHREALTIME/[.,]/}
    echo $((time / 1000))
}

# Process ids of the ranks below the process $1: those to which MPI has given a number
ranks_below() {
    local child
    for child in $(pgrep -P "$1"); do
        if { tr '\0' '\n' <"/proc/$child/environ"; } 2>/dev/null |
            grep -Eq '^(OMPI_COMM_WORLD_RANK|PMI_RANK)='; then
            echo "$child"
        else
            ranks_below "$child"
        fi
    done
}

# The processes among $@ that are running
running() {
    local id
    for id in "$@"; do
        ! kill -0 "$id" 2>/dev/null || echo "$id"
    done
}

# has_checkpoint RUN: whether there is one in its folder
has_checkpoint() {
    compgen -G "$1/checkpoints/step-*[0-9]" >/dev/null
}

# kill_a_rank LOG RUN MILLISECONDS N PROGRAM FLAGS: a run on N ranks, of which one is killed so long
# after all were there and, if RUN is a folder, it had a checkpoint. The result is in `took`, the
# milliseconds until the last rank had ended, and `end`: "killed", "over" if the run was over
# before, "alive" if a rank was running 10 s later, or "silent" if there is no sentence about it.
kill_a_rank() {
    local log=$1 out=$2 moment=$3 n=$4 ids=() rest killed
    shift 3
    (start "$@") >"$log" 2>&1 &
    job=$!
    while ((${#ids[@]} < n)) && kill -0 "$job" 2>/dev/null; do
        sleep 0.02
        mapfile -t ids < <(ranks_below "$job")
    done
    while [[ $out ]] && ! has_checkpoint "$out" && kill -0 "$job" 2>/dev/null; do
        sleep 0.02
    done
    sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
    end=over took=0
    if ((${#ids[@]} == n)) && kill -9 "${ids[RANDOM % n]}" 2>/dev/null; then
        end=killed killed=$(now)
        while rest=$(running "${ids[@]}" "$job") && [[ $rest ]] && (($(now) < killed + 10000)); do
            sleep 0.05
        done
        took=$(($(now) - killed))
        if [[ $rest ]]; then
            end=alive
            kill -9 $rest 2>/dev/null || true
        fi
    fi
    if wait "$job"; then end=over; fi # killed when its work was done
    job=""
    if [[ $end == killed ]] && ! grep -Eiq 'signal:? 9|killed by signal' "$log"; then
        end=silent
    fi
}

# check_kills PART PROGRAM MILLISECONDS FLAGS: the run with FLAGS, which takes so long, with a rank
# killed at a random moment, KILLS times
check_kills() {
    local part=$1 program=$2 whole=$3 name=$1-killed n_killed=0 n_resumed=0 worst=0 tries=0
    local out=$folder/runs/$name moment from fault text
    shift 3
    while ((n_killed < kills)); do
        if ((++tries > 3 * kills)); then
            note "$part" "kill -9" FAILED "the run was over before a rank was killed, $tries times"
            return
        fi
        # At any moment, and every other time after the first checkpoint
        moment=$(((RANDOM * 32768 + RANDOM) % whole)) from=""
        if ((n_killed % 2 == 0)); then
            moment=$((moment / 4)) from=$out
        fi
        rm -rf "$out"
        kill_a_rank "$folder/logs/$name" "$from" "$moment" 2 "$program" "$@" --out "$out"
        rm -rf "$folder"/tmp/*-rank-* # of the ranks that had no time to remove it
        [[ $end != over ]] || continue
        n_killed=$((n_killed + 1))
        ((took <= worst)) || worst=$took
        fault="killed after $moment ms${from:+ with a checkpoint}"
        case $end in
            alive) note "$part" "kill -9" FAILED "$fault: a rank ran 10 s later" && return ;;
            silent) note "$part" "kill -9" FAILED "$fault: mpirun did not say so" && return ;;
        esac
        if has_checkpoint "$out"; then
            n_resumed=$((n_resumed + 1))
            resume "$name" 2 "$program" --resume || {
                note "$part" "kill -9" FAILED "$fault: it cannot be resumed" && return
            }
        else # as the program says, if it is resumed
            run "$name" 2 "$program" "$@" || {
                note "$part" "kill -9" FAILED "$fault: it cannot be started anew" && return
            }
        fi
        if ! text=$(python3 "$compare" same "$folder/runs/$part-2" "$out" 2>&1 | tail -n 1); then
            note "$part" "kill -9" FAILED "$fault, then: $text"
            return
        fi
    done
    text="$n_killed times, all ended within $((worst / 1000)).$(printf %03d $((worst % 1000))) s; "
    text+="$n_resumed resumed, $((n_killed - n_resumed)) begun anew without a checkpoint; "
    text+="the same bytes"
    note "$part" "kill -9" ok "$text"
}

# check_ending PART CHECK RANK PATTERN COMMAND TRAIN: two ranks of the command TRAIN, of which RANK
# is started by COMMAND, `exec "$@"` with a fault. All have to end within 10 s after the failure,
# with one line of PATTERN.
check_ending() {
    local part=$1 name=$2 rank=$3 pattern=$4 fault=$5 log=$folder/logs/$1-fails code=0 n begun
    local sound='exec "$@"' commands
    shift 5
    commands=("$sound" "$sound")
    commands[rank]=$fault
    rm -rf "$folder/runs/$part-fails"
    begun=$(now)
    timeout --foreground -k 5 "$limit_of_failure" mpirun "${mpi_flags[@]}" \
        -n 1 env TMPDIR="$folder/tmp" sh -c "${commands[0]}" sh "$@" : \
        -n 1 env TMPDIR="$folder/tmp" sh -c "${commands[1]}" sh "$@" \
        </dev/null >"$log" 2>&1 || code=$?
    rm -rf "$folder"/tmp/*-rank-*
    n=$(grep -Ec "$pattern" "$log") || true
    if ((code == 124 || code == 137)); then
        note "$part" "$name" FAILED "the other rank was running $limit_of_failure s later"
    elif ((code == 0)); then
        note "$part" "$name" FAILED "exit code 0"
    elif ((n != 1)); then
        note "$part" "$name" FAILED "$n messages about it: $log"
    else
        note "$part" "$name" ok "exit code $code after $(($(now) - begun)) ms, one message"
    fi
}

# check_part PART PROGRAM FLAGS
check_part() {
    local part=$1 program=$2 begun whole n
    shift 2
    echo "== part $part: $program train $*"
    for n in 1 2 4; do
        begun=$(now)
        run "$part-$n" "$n" "$program" "$@" || {
            note "$part" "run of $n" FAILED "the run failed: $folder/logs/$part-$n"
            return
        }
        ((n != 2)) || whole=$(($(now) - begun))
        ((n == 1)) || check "$part" "$n ranks = 1 rank" close "$part-1" "$part-$n"
    done
    if run "$part-again" 2 "$program" "$@"; then
        check "$part" "2 ranks, twice" same "$part-2" "$part-again"
    else
        note "$part" "2 ranks, twice" FAILED "the run failed: $folder/logs/$part-again"
    fi
    if run "$part-moved" 2 "$program" "$@" --stop-after 4 &&
        resume "$part-moved" 4 "$program" --resume; then
        check "$part" "2 ranks, then 4" close "$part-1" "$part-moved"
    else
        note "$part" "2 ranks, then 4" FAILED "the run failed: $folder/logs/$part-moved"
    fi
    set -- "$part" "$program" "$whole" "$@"
    local train=("$programs/$program" train "${@:4}" --threads 1 --out "$folder/runs/$part-fails")
    check_ending "$part" "an error of a rank" 1 '^error' 'exec "$@" --no-such-flag' "${train[@]}"
    # What is printed does not fit on its device.
    check_ending "$part" "a full disk" 0 'No space left on device' 'exec "$@" >/dev/full' "${train[@]}"
    ((kills == 0)) || check_kills "$@"
}

# Tokens per second of one rank with two threads, and of two ranks with one thread each
measure_overhead() {
    local flags text n
    read -ra flags <<<"$overhead_flags"
    flags+=(--data data/tiny.txt --eval-windows 1 --log-interval 1 --tracker none)
    echo "== overhead: part_4 train ${flags[*]}"
    for n in 1 2; do
        threads=$((3 - n)) run "overhead-$n" "$n" part_4 "${flags[@]}" || {
            note 4 overhead FAILED "the run failed: $folder/logs/overhead-$n"
            return
        }
        if text=$(python3 "$compare" times "$folder/runs/overhead-$n" 2>&1 | tail -n 1); then
            note 4 "overhead, $n x $((3 - n))" ok "$text (ranks x threads)"
        else
            note 4 "overhead, $n x $((3 - n))" FAILED "$text"
        fi
    done
}

# A learning rate at which the rounding of a sum stays below 1e-5 of a weight: AdamW divides by the
# size of the gradient, so where that is near 0, rounding becomes a share of the rate.
all=(--lr 1e-4 --warmup-steps 2 --log-interval 1 --save-interval 2 --tracker none)
model=(--model "$folder/runs/6-1")
rewards=(--reward length --max-new-tokens 8) # which differ also between an untrained model's words

# Parts 7 to 10 begin with the model of part 6.
if [[ " $parts " =~ \ (7|8|9|10|online)\  && " $parts " != *" 6 "* ]]; then
    parts="6 $parts"
    echo "part 6 is checked, too: its model is what later parts begin with"
fi
for part in $parts; do
    program=part_${part/online/10}
    if [[ ! -x $programs/$program ]]; then
        note "$part" all skipped "$programs/$program is not there"
        continue
    elif [[ $part =~ ^(7|8|9|10|online)$ && ! -d $folder/runs/6-1/model ]]; then
        note "$part" all skipped "there is no model of part 6"
        continue
    fi
    case $part in
        4) check_part 4 part_4 --data data/tiny.txt --n-layer 2 --n-embd 64 --n-head 2 \
            --context-len 64 --vocab-size 512 --batch-size 16 --steps 20 "${all[@]}" ;;
        6) check_part 6 part_6 --demonstrations noisy --base-steps 20 --examples 2000 \
            --batch-size 16 --steps 20 --eval-examples 20 "${all[@]}" ;;
        7) check_part 7 part_7 "${model[@]}" --pairs 400 --batch-size 16 --steps 20 \
            --eval-pairs 20 "${all[@]}" ;;
        8) check_part 8 part_8 "${model[@]}" --examples 2000 --batch-size 8 --steps 8 \
            --eval-examples 8 "${all[@]}" ;;
        9) check_part 9 part_9 "${model[@]}" --batch-size 8 --group-size 4 --steps 12 \
            --eval-examples 8 "${rewards[@]}" "${all[@]}" ;;
        10) check_part 10 part_10 "${model[@]}" --pairs 400 --batch-size 16 --steps 20 \
            --eval-pairs 20 "${all[@]}" ;;
        online) check_part online part_10 "${model[@]}" --online pairs --prompts-per-round 8 \
            --group-size 4 --steps 8 --eval-pairs 8 "${rewards[@]}" "${all[@]}" ;;
        *) stop "PARTS: there are no ranks in part $part" ;;
    esac
done
[[ ! ${OVERHEAD-} ]] || measure_overhead

printf '\n| part | check | result | |\n| --- | --- | --- | --- |\n'
printf '%s\n' "${table[@]}"
echo "$SECONDS s, $n_failed failed"
((n_failed == 0))
