# Run from an empty folder with the wheel's environment on PATH: the installed package must work without the checkout.
set -euo pipefail
python - <<'PY'
import importlib.resources, sys
import lr_lightning, hydra_plugins.lr_lightning_plugins
where = lr_lightning.__file__
assert "site-packages" in where, where
assert importlib.resources.files("lr_lightning.conf").joinpath("config.yaml").is_file()
assert not {"torch", "lightning"} & set(sys.modules)
PY
lr-lightning trainer.max_epochs=1 trainer.enable_progress_bar=false | tee smoke.txt
grep -q '^suggested LR:' smoke.txt
grep -q '^look at it: lr-lightning review' smoke.txt
# The installed package is found by a project that doesn't know of it.
cp -r "$(dirname "$0")/helpers/template_project" project
(cd project && python src/train.py 'callbacks=[default,lr_range_test]' callbacks.lr_range_test.max_lr=1) | tee project.txt
grep -q '^callbacks: LRRangeTest' project.txt
echo "wheel: smoke run passed"
