"""Who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "edge_et": ROOT / "edge_et",
    "edge_et_export": ROOT / "export" / "edge_et_export",
    "edge_et_tuning": ROOT / "tuning" / "edge_et_tuning",
    "edge_et_bench": ROOT / "benchmarks" / "edge_et_bench",
}
# Libraries that one module of the runtime may import, and who.
ONLY = {
    "onnxruntime": "edge_et/ort.py",
    "llama_cpp": "edge_et/llama_library.py",
    "huggingface_hub": "edge_et/hub.py",
    "requests": "edge_et/web.py",
}
NOT_IN_THE_RUNTIME = {"torch", "transformers", "optimum", "onnx", "gguf", "onnxruntime_genai"}


def files(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return every module that `path` imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files("edge_et"), ids=short)
def test_the_runtime_imports_no_training_library_and_no_sibling(path):
    forbidden = NOT_IN_THE_RUNTIME | set(PACKAGES) - {"edge_et"}
    assert not roots(path) & forbidden


@pytest.mark.parametrize("path", files("edge_et"), ids=short)
def test_each_engine_has_one_importer(path):
    for library, owner in ONLY.items():
        assert library not in roots(path) or short(path) == owner
    assert "typer" not in roots(path) or "cli" in path.parts


@pytest.mark.parametrize("path", files("edge_et"), ids=short)
def test_the_library_does_not_know_its_command_line(path):
    if "cli" not in path.parts:
        assert not any(name.startswith("edge_et.cli") for name in imported(path))


NETWORK = {"edge_et.hub", "edge_et.web", "edge_et.wheels"}


@pytest.mark.parametrize("path", files("edge_et"), ids=short)
def test_the_store_alone_reaches_the_network(path):
    assert not imported(path) & NETWORK or short(path) == "edge_et/store.py"


@pytest.mark.parametrize("package", ["edge_et_export", "edge_et_tuning", "edge_et_bench"])
def test_siblings_do_not_import_each_other(package):
    for path in files(package):
        allowed = {"edge_et", package}
        names = {name for name in imported(path) if name.partition(".")[0] in PACKAGES}
        strangers = {name for name in names if name.partition(".")[0] not in allowed}
        if package == "edge_et_bench":  # it exports through the public functions alone
            strangers = {n for n in strangers if not n.startswith("edge_et_export")} | {
                n for n in strangers if n.count(".") > 1
            }
        assert not strangers, short(path)


def reached(module: str) -> set[str]:
    """Return the modules of the runtime that importing `module` pulls in, by their imports at the
    top of the file; those for type checkers and those inside functions do not count."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name in found or not path.is_file():
            continue
        found.add(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge_et"):
                pending.append(node.module or "")
                pending += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("module", ["edge_et.chain", "edge_et.thinking", "edge_et.stages"])
def test_the_chain_knows_no_engine(module):
    engines = {
        "edge_et.ort",
        "edge_et.llama",
        "edge_et.llama_library",
        "edge_et.extractor",
        "edge_et.reasoner",
    }
    assert not reached(module) & engines


def test_no_module_of_the_library_prints_or_reads_the_environment():
    for path in files("edge_et"):
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", short(path)
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                # two write a switch that has no other form, one hands it on to pip
                assert short(path) in ("edge_et/ort.py", "edge_et/hub.py", "edge_et/wheels.py")
