#!/usr/bin/env bash
# Two hosts on one machine: network namespaces with a virtual link between them, and part 4 on a
# rank of each. The link is cut in the middle of the run, which has to end with a sentence within 30
# s; then it is mended, and the run is resumed. Its model has to equal, byte for byte, that of a run
# whose link was never cut. For Linux and root, with Open MPI 4 and util-linux:
#
#     cargo build -p part_4 --features mpi && sudo bash scripts/two_hosts.sh
set -euo pipefail
cd "$(dirname "$0")/.."

part_4=${PART_4:-target/debug/part_4}
out=$(mktemp -d)
name=ranks$$
a=$name-a b=$name-b

cleanup() {
    ip netns del "$a" 2>/dev/null || true
    ip netns del "$b" 2>/dev/null || true
    rm -rf "$out"
}
trap cleanup EXIT

ip netns add "$a"
ip netns add "$b"
ip link add "va$$" netns "$a" type veth peer name "vb$$" netns "$b"
ip -n "$a" addr add 10.73.0.1/24 dev "va$$"
ip -n "$b" addr add 10.73.0.2/24 dev "vb$$"
for side in "$a va$$" "$b vb$$"; do
    read -r host link <<<"$side"
    ip -n "$host" link set lo up
    ip -n "$host" link set "$link" up
done

# In place of ssh: starts a command on the second host, which has a name of its own.
cat >"$out/agent" <<AGENT
#!/bin/sh
shift # the address
exec ip netns exec $b unshare --uts sh -c "hostname host-b; \$*"
AGENT
chmod +x "$out/agent"

# part_4 train with FLAGS on both hosts
train() {
    ip netns exec "$a" unshare --uts sh -c 'hostname host-a; exec "$@"' sh \
        mpirun --allow-run-as-root -H 10.73.0.1:1,10.73.0.2:1 -n 2 \
        --mca plm_rsh_agent "$out/agent" --mca btl tcp,self --mca pml ob1 \
        --mca btl_tcp_if_include 10.73.0.0/24 --mca oob_tcp_if_include 10.73.0.0/24 \
        --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 3 \
        --mca oob_tcp_keepalive_probes 3 \
        "$part_4" train "$@" </dev/null
}

flags=(--data data/tiny.txt --n-layer 2 --n-embd 64 --context-len 64 --batch-size 8
    --steps "${STEPS:-400}" --save-interval 20 --threads 1)

echo "== a run whose link stays"
train "${flags[@]}" --out "$out/whole" >"$out/whole.log" 2>&1 || { cat "$out/whole.log"; exit 1; }
tail -n 1 "$out/whole.log"

echo "== the link is cut after the first checkpoint"
train "${flags[@]}" --out "$out/cut" >"$out/cut.log" 2>&1 &
run=$!
until ls "$out"/cut/checkpoint* >/dev/null 2>&1; do
    kill -0 $run 2>/dev/null || { cat "$out/cut.log"; exit 1; }
    sleep 0.1
done
ip -n "$a" link set "va$$" down
cut=$(date +%s)
if wait $run; then
    echo "the run was over before its link was cut; try a larger STEPS"
    exit 1
fi
seconds=$(($(date +%s) - cut))
grep -v "^step" "$out/cut.log" | tail -n 12
echo "ended $seconds s after the cut"
((seconds <= 30))

echo "== resumed"
ip -n "$a" link set "va$$" up
train --resume --out "$out/cut" >"$out/resumed.log" 2>&1 || { cat "$out/resumed.log"; exit 1; }
tail -n 1 "$out/resumed.log"
cmp "$out/whole/model/model.safetensors" "$out/cut/model/model.safetensors"
echo "the model is the one of the uninterrupted run"
