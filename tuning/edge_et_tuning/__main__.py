from edge_et_tuning.cli import app

app()
