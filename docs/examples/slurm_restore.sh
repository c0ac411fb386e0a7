#!/bin/bash
# A manifest restored by a Slurm array: sbatch slurm_restore.sh. To do again what failed: sbatch --array=3,5 slurm_restore.sh.
#SBATCH --job-name=msrn
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

SHARDS=8                                     # as many as the array had at first, also when only some are done again
export MSRN_CORES="${SLURM_CPUS_PER_TASK:-4}"
exec msrn restore --manifest "${MANIFEST:-images.parquet}" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" \
  --output "${OUTPUT:-restored}" --quiet
