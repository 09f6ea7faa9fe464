from edge_et_bench.cli import app

app(prog_name="edge-et bench")
