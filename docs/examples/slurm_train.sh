#!/bin/bash
# A training on one to four nodes: sbatch slurm_train.sh. A node may leave and come back.
#SBATCH --job-name=msrn-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # torch 2.13 needs it to let nodes join later
FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=0 torchrun --nnodes 1:"$SLURM_NNODES" --nproc-per-node 1 --max-restarts 100 \
  --rdzv-backend c10d --rdzv-endpoint "$FIRST:29500" --rdzv-id "msrn-$SLURM_JOB_ID" \
  -m msrn.cli train "${RECIPE:-sr_paper_size}" --data-root "${DATA:-data}" --output "${RUN:-run}"
