"""What every check script shares: run plain functions, print one JSON verdict for each. Standard library only."""

import faulthandler
import json
import sys
import traceback

PATIENCE = 600  # seconds for one check, of which the slowest takes some tens


class Failed(Exception):
    """The image is not what was expected; the text says in what. Not an assert: PYTHONOPTIMIZE removes those."""


class Skip(Exception):
    """The check does not apply here; its text says why."""


def run_checks(checks):
    """Print a verdict per function: pass when it returns (its value is the detail), fail when it raises."""
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = json.load(file)
    faulthandler.enable(sys.__stderr__)
    for check in checks:
        name = check.__name__.replace("_", "-")
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=sys.__stderr__)
        try:
            verdict, detail = "pass", check(expected)
        except Skip as skip:
            verdict, detail = "skip", str(skip)
        except Failed as error:
            verdict, detail = "fail", str(error)
        except (Exception, SystemExit):
            verdict, detail = "fail", traceback.format_exc(limit=-3)
        faulthandler.cancel_dump_traceback_later()
        line = json.dumps({"check": name, "verdict": verdict, "detail": "" if detail is None else str(detail)})
        print(f"\n{line}", flush=True)  # on a line of its own, whatever a package printed before


def compare_sets(expected, found, what):
    """Return how many there are; raise Failed naming what is missing and what nobody asked for."""
    faults = [f"missing: {item}" for item in sorted(expected - found)]
    faults += [f"not in the lock: {item}" for item in sorted(found - expected)]
    if faults:
        raise Failed("; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else ""))
    return f"{len(found)} {what}"
