"""A run as MLflow shows it: one run over an interruption, with its recipe, sources, metrics and files."""

import shutil

from mlflow.tracking import MlflowClient


def test_a_run_taken_up_again_is_one_run_in_mlflow(workplace):
    uri = f"sqlite:///{workplace.folder}/tracker.db"
    workplace.pretrain(f"tracking.uri={uri}")
    for step in (12, 16):
        shutil.rmtree(workplace.folder / "run" / "checkpoints" / f"step_{step:08d}")
    workplace.pretrain(f"tracking.uri={uri}", resume=True)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("annealmix")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.hidden_size"] == "32"
    assert run.data.params["phases.2.learning_rate.to"] == "0.0001"
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"web", "code", "sft"}
    points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(points) == sorted(workplace.metric("loss").items())
    assert [step for step, _ in sorted(points)] == list(range(1, 17))
    assert {"loss/web", "share/web", "share_of_loss/web", "validation/web", "gradient_norm"} <= run.data.metrics.keys()
    assert {"recipe.yaml", "plan.json", "plan.png", "run.png"} <= {
        file.path for file in client.list_artifacts(run.info.run_id)
    }
    assert {"git_revision", "world_size", "torch", "megatron-core"} <= run.data.tags.keys()
