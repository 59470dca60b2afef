#!/bin/bash
# Pretraining on four nodes of a cluster with SLURM and Open MPI, a rank per node that uses all of
# its cores:
#
#     sbatch configs/slurm_pretrain.sh runs/pretrained --data /scratch/text.txt --n-layer 6
#
# The first argument is the run folder, the others are flags of `part_4 train`. The job asks for
# SIGTERM two minutes before its time is up, saves a checkpoint, and is submitted again; the next
# one resumes the run.
#SBATCH --job-name=pretrain
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%j.log
set -euo pipefail

out=$1
shift
module load openmpi # the name that your cluster gives it

train=(mpirun --map-by "ppr:1:node:pe=$SLURM_CPUS_PER_TASK"
    --mca odls_base_sigkill_timeout 60 # so long may the checkpoint take
    --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 3 --mca oob_tcp_keepalive_probes 3
    target/debug/part_4 train --threads "$SLURM_CPUS_PER_TASK" --out "$out")

if compgen -G "$out/checkpoints/step-*[0-9]" >/dev/null; then
    "${train[@]}" --resume &
else
    "${train[@]}" "$@" &
fi
run=$!
trap 'kill -TERM $run; wait $run || true; sbatch "$0" "$out" "$@"; exit' TERM
wait $run
