"""The command line. Commands parse, call the library and print; each lies in its own file.

    0 ok · 1 runtime failure · 2 usage · 3 bad image or input · 4 model missing or corrupt
    5 device unavailable · 6 too little memory · 7 a limit was reached without a complete answer
    130 Ctrl-C

The answer goes to stdout and everything else to stderr. With --json or --jsonl an error is also an
object on stdout: {"error": {"code", "message", "hint"}}.
"""

from edge_et.cli.app import main

__all__ = ["main"]
