"""The examples for Slurm and Kubernetes do what they say: they are run, or read by what would run them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.helpers.manifests import fill, manifest_of, outputs
from tests.helpers.networks import identity_weights

from msrn.network.weights import save

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
yaml = pytest.importorskip("yaml")


def documents(name):
    """What a YAML file holds."""
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


@pytest.fixture
def manifest(tmp_path):
    """A manifest of pictures whose weights return them, and what leads the examples to it."""
    pytest.importorskip("pyarrow")
    weights = tuple(
        str(save(identity_weights(task), tmp_path / "weights", task)) for task in ("jpeg", "denoise", "photo")
    )
    made = manifest_of(fill(str(tmp_path / "in"), 16), str(tmp_path / "m.parquet"), weights)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return made, os.environ | {"MANIFEST": made.where, "OUTPUT": str(tmp_path / "out"), "PATH": path}


def test_slurms_array_and_the_indexed_job_restore_their_shards(manifest, tmp_path):
    made, environment = manifest
    array = ["bash", str(EXAMPLES / "slurm_restore.sh")]
    (job,) = documents("kubernetes_restore.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    pod = [*container["command"], *container["args"]]
    for command, index in ((array, {"SLURM_ARRAY_TASK_ID": "5"}), (pod, {"JOB_COMPLETION_INDEX": "2"})):
        subprocess.run(command, env=environment | index, check=True)
    assert len(outputs(str(tmp_path / "out"))) == 16 * 2 / 8
    assert made.rows == 16


def test_the_indexed_job_has_as_many_shards_as_pods():
    (job,) = documents("kubernetes_restore.yaml")
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == 8
    assert "/8" in str(job)
    assert "#SBATCH --array=0-7\n" in (EXAMPLES / "slurm_restore.sh").read_text()


@pytest.mark.parametrize("name", ["slurm_restore.sh", "slurm_train.sh"])
def test_scripts_are_bash(name):
    subprocess.run(["bash", "-n", str(EXAMPLES / name)], check=True)


def test_torchrun_understands_how_trainings_are_started():
    run = pytest.importorskip("torch.distributed.run")
    service, job = documents("kubernetes_train.yaml")
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    pod = job["spec"]["template"]["spec"]["containers"][0]["args"][0]
    script = (EXAMPLES / "slurm_train.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [line for line in script.splitlines() if line.startswith("srun")]
    for command in (pod, line.replace("$SLURM_NNODES", "4")):
        words = shlex.split(command)
        given = run.parse_args(words[words.index("torchrun") + 1 :])
        assert run.parse_min_max_nnodes(given.nnodes) == (1, 4)
        assert (given.rdzv_backend, given.training_script, given.max_restarts) == ("c10d", "msrn.cli", 100)
        assert given.training_script_args[0] == "train"
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in script
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in str(job)
